"""Facts about sandboxes and containers that outlive the daemon: one JSON file each, written atomically.

Only what happened is recorded; states are computed from it::

    created ──started_at_ns──> running ──finished_at_ns──> exited
       └───────finished_at_ns (the OCI runtime refused it)────┘
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    ContainerUser,
    PodSandboxConfig,
    PodSandboxStatus,
    SandboxState,
)
from podhost.linux.fs import write_atomic
from podhost.linux.pidfd import ProcessId

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    """What happened to a sandbox."""

    id: SandboxId
    config: PodSandboxConfig
    boot_id: str
    """The boot its namespaces belong to."""
    created_at_ns: int
    ips: tuple[str, ...] = ()
    holder: ProcessId | None = None
    """First process of the shared PID namespace."""
    stopped_at_ns: int = 0
    selinux_level: str = ""
    """Of its containers, where they have labels; empty on a host without SELinux."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """What happened to a container."""

    id: ContainerId
    sandbox_id: SandboxId
    config: ContainerConfig
    stop_signal: str
    created_at_ns: int
    started_at_ns: int = 0
    finished_at_ns: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    process: ProcessId | None = None
    monitor: ProcessId | None = None
    user: ContainerUser | None = None


def compute_container_state(record: ContainerRecord) -> ContainerState:
    """The state that follows from the facts."""
    if record.finished_at_ns:
        return ContainerState.EXITED
    return ContainerState.RUNNING if record.started_at_ns else ContainerState.CREATED


def compute_container_status(record: ContainerRecord, sandbox: PodSandboxConfig) -> ContainerStatus:
    """The record in CRI's words."""
    state = compute_container_state(record)
    running = state is ContainerState.RUNNING and record.process is not None
    return ContainerStatus(
        id=record.id,
        sandbox_id=record.sandbox_id,
        pod_uid=sandbox.uid,
        pod_namespace=sandbox.namespace,
        pod_name=sandbox.name,
        name=record.config.name,
        attempt=record.config.attempt,
        state=state,
        image_ref=record.config.image_ref,
        image_id=record.config.image_id,
        created_at_ns=record.created_at_ns,
        started_at_ns=record.started_at_ns,
        finished_at_ns=record.finished_at_ns,
        exit_code=record.exit_code,
        reason=record.reason,
        message=record.message,
        log_path=record.config.log_path,
        pid=record.process.pid if running and record.process is not None else 0,
        stop_signal=record.stop_signal,
        resources=record.config.resources,
        user=record.user,
        labels=record.config.labels,
    )


def compute_sandbox_status(record: SandboxRecord, netns: Path | None) -> PodSandboxStatus:
    """The record in CRI's words."""
    ready = not record.stopped_at_ns
    return PodSandboxStatus(
        id=record.id,
        namespace=record.config.namespace,
        name=record.config.name,
        uid=record.config.uid,
        attempt=record.config.attempt,
        state=SandboxState.READY if ready else SandboxState.NOTREADY,
        created_at_ns=record.created_at_ns,
        ips=record.ips,
        netns_path=netns if ready else None,
        host_network=record.config.host_network,
        first_host_id=record.config.first_host_id,
        resources=record.config.resources,
    )


def build_exited_record(
    record: ContainerRecord, *, finished_at_ns: int, exit_code: int, reason: str = "", message: str = ""
) -> ContainerRecord:
    """The record after an exit.  Without a reason: ``Completed`` or ``Error``, as CRI runtimes say it."""
    return replace(
        record,
        finished_at_ns=max(finished_at_ns, record.started_at_ns, 1),
        exit_code=exit_code,
        reason=reason or ("Completed" if exit_code == 0 else "Error"),
        message=message,
    )


class RecordFiles:
    """The files.  Blocking, about 0.1 ms a write; written without fsync: after a power loss nothing of what they
    describe is alive, and a broken file is set aside by the start-up sweep.
    """

    def __init__(self, sandboxes: Path, containers: Path) -> None:
        self._sandboxes = sandboxes
        self._containers = containers

    def save_sandbox(self, record: SandboxRecord) -> None:
        write_atomic(self._sandboxes / f"{record.id}.json", _encode(record))

    def save_container(self, record: ContainerRecord) -> None:
        write_atomic(self._containers / f"{record.id}.json", _encode(record))

    def delete_sandbox(self, sandbox_id: SandboxId) -> None:
        (self._sandboxes / f"{sandbox_id}.json").unlink(missing_ok=True)

    def delete_container(self, container_id: ContainerId) -> None:
        (self._containers / f"{container_id}.json").unlink(missing_ok=True)

    def load_sandboxes(self) -> list[SandboxRecord]:
        """All that can be read; others are logged and set aside."""
        return _load_all(self._sandboxes, SandboxRecord)

    def load_containers(self) -> list[ContainerRecord]:
        """All that can be read; others are logged and set aside."""
        return _load_all(self._containers, ContainerRecord)


def _encode(record: object) -> bytes:
    return msgspec.json.encode(record, enc_hook=_encode_path)


def _encode_path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot store a {type(value).__name__}")


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"cannot read a {kind.__name__}")


def _load_all(directory: Path, kind: type[T]) -> list[T]:
    records = []
    for path in sorted(directory.glob("*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_decode_path)
            if f"{getattr(record, 'id', '')}.json" != path.name:
                raise ValueError("the id inside is another one than the file's name")
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            _log.error("cannot read the record %s, setting it aside: %s", path, error)
            path.replace(path.with_suffix(".broken"))
        else:
            records.append(record)
    return records
