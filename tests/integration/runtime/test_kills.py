"""SIGKILL at every numbered step; a new daemon makes sense of what is left, and nothing leaks."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from podhost.aiokit import failpoint
from podhost.cri.runtime import ContainerState

Machine = Any

STEPS = [name for name in failpoint.known() if name.startswith(("sandbox.", "container."))]


def test_all_steps_are_registered() -> None:
    assert len(STEPS) >= 20


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step_nothing_is_lost_or_leaked(machine: Machine, step: str) -> None:
    pid = os.fork()
    if pid == 0:
        _run_child(machine, step)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    service = await machine.restart()
    for container in service.list_containers():
        assert container.state is not ContainerState.UNKNOWN
        if container.state is ContainerState.CREATED:
            await service.start_container(container.id)
            assert (await service.exec_sync(container.id, ("true",), 5)).exit_code == 0
    for sandbox in service.list_pod_sandboxes():
        await service.remove_pod_sandbox(sandbox.id)
    assert machine.leftovers() == []


def _run_child(machine: Machine, step: str) -> None:
    """In the forked child: a daemon's life in a fresh event loop.  Never returns."""
    try:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        asyncio.new_event_loop().run_until_complete(_live(machine, step))
    finally:
        os._exit(1)


async def _live(machine: Machine, step: str) -> None:
    service = machine.new_service()
    await service.recover()
    failpoint.set(step, "kill")
    sandbox = await service.run_pod_sandbox(machine.sandbox_config())
    container = await service.create_container(
        sandbox.id, machine.container_config("sh", "-c", "trap '' TERM; sleep 1000")
    )
    await service.start_container(container)
    await service.stop_container(container, 0.05)
    await service.remove_container(container)
    await service.remove_pod_sandbox(sandbox.id)
