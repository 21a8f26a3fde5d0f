"""What every RuntimeService does, the real one and the fake that other tests believe: one suite for both.

A subclass gives the fixture ``subject``.  It is not collected by itself.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

import pytest

from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerStartError,
    ContainerState,
    PodSandboxConfig,
    RuntimeService,
    SandboxState,
)
from podhost.errors import ConflictError, NotFoundError

Behaviour = Literal["stays", "stubborn", "succeeds", "fails", "refused"]
"""Until SIGTERM (exit 5); until SIGKILL; exits 0; exits 3; cannot be started."""
CREATED, STARTED = ContainerEventType.CREATED, ContainerEventType.STARTED
STOPPED, DELETED = ContainerEventType.STOPPED, ContainerEventType.DELETED


class Subject(Protocol):
    """A runtime, and configurations that it understands."""

    service: RuntimeService

    def sandbox_config(self) -> PodSandboxConfig: ...

    def behaving(self, behaviour: Behaviour) -> ContainerConfig:
        """A container that behaves so; one that is asked to stop is up and hears it."""

    async def wait_up(self, container_id: ContainerId) -> None:
        """Until the container hears signals."""


class RuntimeContract:
    """Facts, states and events of sandboxes and containers."""

    async def _create(self, subject: Subject, behaviour: Behaviour) -> tuple[SandboxId, ContainerId]:
        sandbox = await subject.service.run_pod_sandbox(subject.sandbox_config())
        return sandbox.id, await subject.service.create_container(sandbox.id, subject.behaving(behaviour))

    async def _start(self, subject: Subject, behaviour: Behaviour) -> ContainerId:
        _, container_id = await self._create(subject, behaviour)
        await subject.service.start_container(container_id)
        await subject.wait_up(container_id)
        return container_id

    async def test_created_container_has_not_started(self, subject: Subject) -> None:
        _, container_id = await self._create(subject, "stays")
        status = subject.service.container_status(container_id)
        assert (status.state, status.started_at_ns, status.finished_at_ns) == (ContainerState.CREATED, 0, 0)
        assert status.created_at_ns > 0
        assert status.pid == 0

    async def test_running_container_has_a_process_and_a_start(self, subject: Subject) -> None:
        status = subject.service.container_status(await self._start(subject, "stays"))
        assert (status.state, status.finished_at_ns) == (ContainerState.RUNNING, 0)
        assert status.created_at_ns <= status.started_at_ns
        assert status.pid > 0

    @pytest.mark.parametrize(("behaviour", "code", "reason"), [("succeeds", 0, "Completed"), ("fails", 3, "Error")])
    async def test_exit_is_recorded(self, subject: Subject, behaviour: Behaviour, code: int, reason: str) -> None:
        _, container_id = await self._create(subject, behaviour)
        ended = asyncio.Event()
        subject.service.subscribe(lambda event: ended.set() if event.type is STOPPED else None)
        await subject.service.start_container(container_id)
        await ended.wait()
        status = subject.service.container_status(container_id)
        assert (status.state, status.exit_code, status.reason, status.pid) == (ContainerState.EXITED, code, reason, 0)
        assert status.started_at_ns <= status.finished_at_ns

    async def test_container_starts_once(self, subject: Subject) -> None:
        container_id = await self._start(subject, "stays")
        with pytest.raises(ConflictError):
            await subject.service.start_container(container_id)
        assert subject.service.container_status(container_id).state is ContainerState.RUNNING

    async def test_refused_container_has_exited_without_a_start(self, subject: Subject) -> None:
        _, container_id = await self._create(subject, "refused")
        with pytest.raises(ContainerStartError):
            await subject.service.start_container(container_id)
        status = subject.service.container_status(container_id)
        assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")
        assert (status.started_at_ns, status.pid) == (0, 0)
        assert status.finished_at_ns > 0
        assert status.message

    async def test_stop_asks_first(self, subject: Subject) -> None:
        container_id = await self._start(subject, "stays")
        await subject.service.stop_container(container_id, 20)
        assert subject.service.container_status(container_id).exit_code == 5
        await subject.service.stop_container(container_id, 20)
        await subject.service.stop_container(ContainerId("nobody"), 20)

    async def test_stop_without_patience_kills(self, subject: Subject) -> None:
        container_id = await self._start(subject, "stays")
        await subject.service.stop_container(container_id, 0)
        assert subject.service.container_status(container_id).exit_code == 137

    async def test_stop_kills_at_the_end_of_the_grace_period(self, subject: Subject) -> None:
        container_id = await self._start(subject, "stubborn")
        await subject.service.stop_container(container_id, 0.05)
        status = subject.service.container_status(container_id)
        assert (status.exit_code, status.signal, status.reason) == (137, 0, "Error")

    async def test_second_stop_shortens_the_first(self, subject: Subject) -> None:
        container_id = await self._start(subject, "stubborn")
        first = asyncio.ensure_future(subject.service.stop_container(container_id, 1000))
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await subject.service.stop_container(container_id, 0.05)
            await first
        assert subject.service.container_status(container_id).exit_code == 137

    async def test_removal_takes_a_running_container_along(self, subject: Subject) -> None:
        container_id = await self._start(subject, "stays")
        for _ in range(2):
            await subject.service.remove_container(container_id)
        assert subject.service.list_containers() == []
        with pytest.raises(NotFoundError):
            subject.service.container_status(container_id)

    async def test_events_tell_the_life_in_order(self, subject: Subject) -> None:
        seen: list[ContainerEvent] = []
        undo = subject.service.subscribe(seen.append)
        container_id = await self._start(subject, "stays")
        await subject.service.stop_container(container_id, 20)
        await subject.service.remove_container(container_id)
        assert [event.type for event in seen] == [CREATED, STARTED, STOPPED, DELETED]
        assert {event.container_id for event in seen} == {container_id}
        undo()
        await self._create(subject, "stays")
        assert len(seen) == 4

    async def test_containers_of_one_pod_are_found_by_its_uid(self, subject: Subject) -> None:
        _, one = await self._create(subject, "stays")
        await self._create(subject, "stays")
        uid = subject.service.container_status(one).pod_uid
        assert [c.id for c in subject.service.list_containers(uid)] == [one]
        assert len(subject.service.list_containers()) == 2

    async def test_stopped_sandbox_runs_nothing_and_takes_nothing_in(self, subject: Subject) -> None:
        sandbox_id, container_id = await self._create(subject, "stays")
        await subject.service.start_container(container_id)
        (before,) = subject.service.list_pod_sandboxes()
        assert before.state is SandboxState.READY
        for _ in range(2):
            await subject.service.stop_pod_sandbox(sandbox_id)
        (after,) = subject.service.list_pod_sandboxes()
        assert (after.state, after.ips) == (SandboxState.NOTREADY, before.ips)
        assert subject.service.container_status(container_id).exit_code == 137
        with pytest.raises(ConflictError):
            await subject.service.create_container(sandbox_id, subject.behaving("stays"))

    async def test_removed_sandbox_takes_its_containers_along(self, subject: Subject) -> None:
        sandbox_id, container_id = await self._create(subject, "stays")
        await subject.service.start_container(container_id)
        for _ in range(2):
            await subject.service.remove_pod_sandbox(sandbox_id)
        assert subject.service.list_pod_sandboxes() == []
        assert subject.service.list_containers() == []
        with pytest.raises(NotFoundError):
            await subject.service.create_container(sandbox_id, subject.behaving("stays"))
