"""Containers run for real."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from podhost.cri.runtime import ContainerEvent, ContainerStartError, ContainerState, SecurityConfig
from podhost.linux import cgroup

Machine = Any

pytestmark = pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)


async def test_container_runs_and_its_output_is_in_the_cri_log(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container_id = await machine.start(sandbox, "sh", "-c", "echo out; echo err >&2; exit 3")
    status = await machine.wait_exited(container_id)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert status.created_at_ns <= status.started_at_ns <= status.finished_at_ns
    lines = [line.split(" ", 3)[1:] for line in status.log_path.read_text().splitlines()]
    assert sorted(lines) == [["stderr", "F", "err"], ["stdout", "F", "out"]]


async def test_two_containers_start_at_once_and_share_ipc_and_network(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    one, two = await asyncio.gather(
        machine.start(sandbox, "sleep", "1000", name="one"), machine.start(sandbox, "sleep", "1000", name="two")
    )
    await machine.service.exec_sync(one, ("sh", "-c", "echo hello > /dev/shm/word; echo x > /dev/mqueue/q || true"), 5)
    result = await machine.service.exec_sync(two, ("cat", "/dev/shm/word"), 5)
    assert result.stdout == b"hello\n"
    links = [
        (await machine.service.exec_sync(c, ("readlink", f"/proc/self/ns/{k}"), 5)).stdout
        for k in ("net", "ipc", "uts")
        for c in (one, two)
    ]
    assert links[0::2] == links[1::2]
    assert (await machine.service.exec_sync(one, ("hostname",), 5)).stdout == b"pod1\n"


async def test_unknown_command_is_a_start_error(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container_id = await machine.service.create_container(sandbox.id, machine.container_config("nope"))
    with pytest.raises(ContainerStartError, match=r'exec: "nope": executable file not found in \$PATH') as caught:
        await machine.service.start_container(container_id)
    assert caught.value.exit_code == 128
    status = machine.service.container_status(container_id)
    assert (status.state, status.reason, status.exit_code) == (ContainerState.EXITED, "StartError", 128)


async def test_command_that_is_no_program_is_a_start_error(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container_id = await machine.service.create_container(sandbox.id, machine.container_config("/bin/plain"))
    with pytest.raises(ContainerStartError) as caught:
        await machine.service.start_container(container_id)
    assert caught.value.exit_code == 128


async def test_user_of_the_image_is_resolved_with_groups(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    out = await machine.run(sandbox, "id", security=SecurityConfig(run_as_user=101, supplemental_groups=(300,)))
    assert out == "uid=101(web) gid=102(web) groups=102(web),200(extra),300\n"


async def test_null_device_stays_root_s_when_a_container_runs_as_another_user(machine: Machine) -> None:
    """crun#1845."""
    sandbox = await machine.sandbox()
    out = await machine.run(sandbox, "ls", "-ln", "/dev/null", security=SecurityConfig(run_as_user=4712))
    assert out.split()[2:4] == ["0", "0"]


async def test_stop_sends_the_signal_then_kills(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    polite = await machine.start(sandbox, "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done")
    stubborn = await machine.start(sandbox, "sh", "-c", "trap '' TERM; sleep 1000")
    await asyncio.gather(machine.service.stop_container(polite, 10), machine.service.stop_container(stubborn, 0.1))
    codes = [machine.service.container_status(c).exit_code for c in (polite, stubborn)]
    assert codes[1] == 137
    assert codes[0] in (5, 143)


async def test_second_stop_with_a_shorter_grace_shortens_the_first(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    container = await machine.start(sandbox, "sh", "-c", "trap '' TERM; sleep 1000")
    first = asyncio.gather(machine.service.stop_container(container, 1000))
    await asyncio.sleep(0)
    await machine.service.stop_container(container, 0)
    await asyncio.wait_for(first, 5)


async def test_events_tell_the_life_of_a_container(machine: Machine) -> None:
    events: list[ContainerEvent] = []
    machine.service.subscribe(events.append)
    sandbox = await machine.sandbox()
    container = await machine.start(sandbox, "true")
    await machine.wait_exited(container)
    await machine.service.remove_container(container)
    assert [event.type.name for event in events] == ["CREATED", "STARTED", "STOPPED", "DELETED"]


async def test_restarted_daemon_adopts_the_living_and_records_the_dead(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    living = await machine.start(sandbox, "sleep", "1000")
    dying = await machine.start(sandbox, "sh", "-c", "read x; exit 7", stdin=True)
    session = await machine.service.attach(dying, tty=False, stdin=True)
    pid = machine.service.container_status(living).pid
    await machine.service.close()
    await session.write_stdin(b"go\n")
    await session.wait()
    await session.close()
    service = machine.new_service()
    machine.service = service
    await service.recover()
    status = await machine.wait_exited(dying)
    assert (status.exit_code, status.reason) == (7, "Error")
    assert service.container_status(living).pid == pid
    await service.stop_container(living, 0)
    assert service.container_status(living).exit_code == 137


async def test_stopped_daemon_without_containers_leaves_no_cgroup(machine: Machine) -> None:
    sandbox = await machine.sandbox()
    await machine.run(sandbox, "true")
    await machine.service.remove_pod_sandbox(sandbox.id)
    await machine.service.close()
    assert [path for path in cgroup.detect().directories(machine.settings.cgroup_parent) if path.exists()] == []
    await machine.restart()
