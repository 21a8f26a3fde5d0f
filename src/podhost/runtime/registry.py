"""What the runtime knows, in memory: records by id, their locks, and who wants to hear of changes."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from podhost.cri.ids import ContainerId, PodUID, SandboxId
from podhost.cri.runtime import ContainerEvent, ContainerEventType
from podhost.errors import NotFoundError
from podhost.runtime.records import ContainerRecord, RecordFiles, SandboxRecord

_log = logging.getLogger(__name__)
_Id = TypeVar("_Id")
_Entry = TypeVar("_Entry")


@dataclass(slots=True, eq=False)
class SandboxEntry:
    """A sandbox; ``lock`` orders the verbs that change it."""

    record: SandboxRecord
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, eq=False)
class ContainerEntry:
    """A container; ``lock`` orders start, exit and removal, and is never held while waiting for an exit."""

    record: ContainerRecord
    pod_uid: PodUID
    cgroup: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has exited and when it was removed."""
    kill_at_s: float | None = None
    """Loop time at which a running stop sends SIGKILL."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has exited, and when ``kill_at_s`` has become earlier; whoever waits clears it first."""


class Registry:
    """Records of all sandboxes and containers; each change is on disk before it is seen here."""

    def __init__(self, files: RecordFiles) -> None:
        self.files = files
        self._sandboxes: dict[SandboxId, SandboxEntry] = {}
        self._containers: dict[ContainerId, ContainerEntry] = {}
        self._sandboxes_of_pod: dict[PodUID, dict[SandboxId, SandboxEntry]] = defaultdict(dict)
        self._of_pod: dict[PodUID, dict[ContainerId, ContainerEntry]] = defaultdict(dict)
        self._callbacks: list[Callable[[ContainerEvent], None]] = []

    def sandboxes(self, pod_uid: PodUID | None = None) -> list[SandboxEntry]:
        if pod_uid is None:
            return list(self._sandboxes.values())
        return list(self._sandboxes_of_pod[pod_uid].values()) if pod_uid in self._sandboxes_of_pod else []

    def find_sandbox(self, sandbox_id: SandboxId) -> SandboxEntry | None:
        return self._sandboxes.get(sandbox_id)

    def sandbox(self, sandbox_id: SandboxId) -> SandboxEntry:
        """Raises NotFoundError."""
        entry = self._sandboxes.get(sandbox_id)
        if entry is None:
            raise NotFoundError(f'cannot find sandbox "{sandbox_id}"')
        return entry

    def containers(self, pod_uid: PodUID | None = None) -> list[ContainerEntry]:
        if pod_uid is None:
            return list(self._containers.values())
        return list(self._of_pod[pod_uid].values()) if pod_uid in self._of_pod else []

    def containers_of_sandbox(self, sandbox: SandboxRecord) -> list[ContainerEntry]:
        return [entry for entry in self.containers(sandbox.config.uid) if entry.record.sandbox_id == sandbox.id]

    def find_container(self, container_id: ContainerId) -> ContainerEntry | None:
        return self._containers.get(container_id)

    def container(self, container_id: ContainerId) -> ContainerEntry:
        """Raises NotFoundError."""
        entry = self._containers.get(container_id)
        if entry is None:
            raise NotFoundError(f'cannot find container "{container_id}"')
        return entry

    def add_sandbox(self, record: SandboxRecord) -> SandboxEntry:
        """Take up a record that is on disk."""
        entry = SandboxEntry(record)
        self._sandboxes[record.id] = entry
        self._sandboxes_of_pod[record.config.uid][record.id] = entry
        return entry

    def add_container(self, record: ContainerRecord, pod_uid: PodUID, pod_cgroup: str) -> ContainerEntry:
        """Take up a record that is on disk."""
        entry = ContainerEntry(record, pod_uid, f"{pod_cgroup}/{record.id}")
        if record.finished_at_ns:
            entry.exited.set()
        self._containers[record.id] = entry
        self._of_pod[pod_uid][record.id] = entry
        return entry

    async def update_sandbox(self, entry: SandboxEntry, record: SandboxRecord) -> None:
        await asyncio.to_thread(self.files.save_sandbox, record)
        entry.record = record

    async def update_container(self, entry: ContainerEntry, record: ContainerRecord) -> None:
        await asyncio.to_thread(self.files.save_container, record)
        self.replace_container(entry, record)

    def replace_container(self, entry: ContainerEntry, record: ContainerRecord) -> None:
        """Show a record that is on disk already."""
        entry.record = record
        if record.finished_at_ns:
            _set_exited(entry)

    async def drop_sandbox(self, entry: SandboxEntry) -> None:
        await asyncio.to_thread(self.files.delete_sandbox, entry.record.id)
        self._sandboxes.pop(entry.record.id, None)
        _drop(self._sandboxes_of_pod, entry.record.config.uid, entry.record.id)

    async def drop_container(self, entry: ContainerEntry) -> None:
        await asyncio.to_thread(self.files.delete_container, entry.record.id)
        self._containers.pop(entry.record.id, None)
        _drop(self._of_pod, entry.pod_uid, entry.record.id)
        _set_exited(entry)

    def subscribe(self, callback: Callable[[ContainerEvent], None]) -> Callable[[], None]:
        """Returns the undo."""
        self._callbacks.append(callback)

        def undo() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return undo

    def emit(self, kind: ContainerEventType, entry: ContainerEntry) -> None:
        """Tell the subscribers; one that fails does not keep the others from hearing it."""
        event = ContainerEvent(type=kind, container_id=entry.record.id, pod_uid=entry.pod_uid)
        for callback in list(self._callbacks):
            try:
                callback(event)
            except Exception:
                _log.exception("a subscriber failed at %s", event)


def _drop(index: dict[PodUID, dict[_Id, _Entry]], uid: PodUID, key: _Id) -> None:
    of_pod = index.get(uid, {})
    of_pod.pop(key, None)
    if not of_pod:
        index.pop(uid, None)


def _set_exited(entry: ContainerEntry) -> None:
    entry.exited.set()
    entry.changed.set()
