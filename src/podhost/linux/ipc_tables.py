"""The kernel's IPC objects of one IPC namespace: System V tables, POSIX queues; and files of a pod's /dev/shm.

Process numbers are those of the caller's PID namespace; the kernel keeps them after the process has ended.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podhost.linux import syscalls as sys
from podhost.linux.mount import open_detached
from podhost.linux.namespaces import run_in_namespace

T = TypeVar("T")

_MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SysvQueue:
    """A message queue (``/proc/sysvipc/msg``).  Times are seconds since the epoch, 0: never."""

    id: int
    key: int
    mode: int
    uid: int
    bytes: int
    messages: int
    last_sender: int
    last_receiver: int
    sent_at_s: int = 0
    received_at_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SysvSemaphores:
    """A set of semaphores (``/proc/sysvipc/sem``); the kernel does not tell who made it."""

    id: int
    key: int
    mode: int
    uid: int
    count: int
    used_at_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SysvSegment:
    """A shared memory segment (``/proc/sysvipc/shm``)."""

    id: int
    key: int
    mode: int
    uid: int
    size_bytes: int
    creator: int
    last_user: int
    attached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PosixQueue:
    """A POSIX message queue; ``(device, inode)`` is also that of descriptors of it."""

    name: str
    mode: int
    uid: int
    messages: int
    max_messages: int
    message_size_bytes: int
    bytes: int
    notified_pid: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShmFile:
    """A file in /dev/shm: POSIX shared memory, or a named semaphore (``sem.NAME``)."""

    name: str
    mode: int
    uid: int
    size_bytes: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IpcTables:
    """Everything of one IPC namespace."""

    queues: tuple[SysvQueue, ...] = ()
    semaphores: tuple[SysvSemaphores, ...] = ()
    segments: tuple[SysvSegment, ...] = ()
    posix_queues: tuple[PosixQueue, ...] = ()


def observe_ipc_tables(ipc_ns: Path) -> IpcTables:
    """The tables of the namespace at ``ipc_ns``; blocking, in a thread that enters it.  Raises OSError."""
    return run_in_namespace(ipc_ns, "ipc", _read_tables)


def _read_tables() -> IpcTables:
    return IpcTables(
        queues=tuple(parse_queues(_read("msg"))),
        semaphores=tuple(parse_semaphores(_read("sem"))),
        segments=tuple(parse_segments(_read("shm"))),
        posix_queues=tuple(_read_posix_queues()),
    )


def _read(name: str) -> str:
    try:
        return Path("/proc/sysvipc", name).read_text()
    except FileNotFoundError:
        return ""  # a kernel without System V IPC


def _rows(text: str) -> list[dict[str, str]]:
    """The table's lines by the names in its first line; architectures differ in widths, not in names."""
    lines = text.splitlines()
    if not lines:
        return []
    names = lines[0].split()
    return [dict(zip(names, line.split(), strict=False)) for line in lines[1:]]


def _key(text: str) -> int:
    """Keys are printed as signed numbers and written by people as unsigned hexadecimal."""
    return int(text) & 0xFFFFFFFF


def parse_queues(text: str) -> list[SysvQueue]:
    return [
        SysvQueue(
            id=int(row["msqid"]),
            key=_key(row["key"]),
            mode=int(row["perms"], 8),
            uid=int(row["uid"]),
            bytes=int(row["cbytes"]),
            messages=int(row["qnum"]),
            last_sender=int(row["lspid"]),
            last_receiver=int(row["lrpid"]),
            sent_at_s=int(row["stime"]),
            received_at_s=int(row["rtime"]),
        )
        for row in _rows(text)
    ]


def parse_semaphores(text: str) -> list[SysvSemaphores]:
    return [
        SysvSemaphores(
            id=int(row["semid"]),
            key=_key(row["key"]),
            mode=int(row["perms"], 8),
            uid=int(row["uid"]),
            count=int(row["nsems"]),
            used_at_s=int(row["otime"]),
        )
        for row in _rows(text)
    ]


def parse_segments(text: str) -> list[SysvSegment]:
    return [
        SysvSegment(
            id=int(row["shmid"]),
            key=_key(row["key"]),
            mode=int(row["perms"], 8),
            uid=int(row["uid"]),
            size_bytes=int(row["size"]),
            creator=int(row["cpid"]),
            last_user=int(row["lpid"]),
            attached=int(row["nattch"]),
        )
        for row in _rows(text)
    ]


def _read_posix_queues() -> list[PosixQueue]:
    """Through a mount of mqueue that nobody else sees and that ends with its descriptor."""
    with open_detached("mqueue") as root_fd:
        names = sorted(os.listdir(root_fd))[:_MAX_ENTRIES]
        return _read_each(names, lambda name: _read_posix_queue(root_fd, name))


def _read_posix_queue(root_fd: int, name: str) -> PosixQueue:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=root_fd)
    try:
        facts = os.fstat(fd)
        state = parse_posix_state(os.read(fd, 4096).decode())
        attributes = sys.mq_getattr(fd)
    finally:
        os.close(fd)
    return PosixQueue(
        name=f"/{name}",
        mode=stat.S_IMODE(facts.st_mode),
        uid=facts.st_uid,
        messages=attributes[3],
        max_messages=attributes[1],
        message_size_bytes=attributes[2],
        bytes=state.get("QSIZE", 0),
        notified_pid=state.get("NOTIFY_PID", 0),
        device=facts.st_dev,
        inode=facts.st_ino,
    )


def parse_posix_state(text: str) -> dict[str, int]:
    """``QSIZE:129     NOTIFY:2    SIGNO:0    NOTIFY_PID:8260`` (mq_overview(7))."""
    pairs = (part.split(":", 1) for part in text.replace(": ", ":").split() if ":" in part)
    return {name: int(value) for name, value in pairs if value.isdigit()}


def observe_shm_files(root_fd: int) -> list[ShmFile]:
    """Files in the directory ``root_fd`` (a container's /dev/shm), at most 1,000; blocking.  Raises OSError."""

    def read(name: str) -> ShmFile:
        facts = os.stat(name, dir_fd=root_fd, follow_symlinks=False)
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError(name)
        return ShmFile(
            name=f"/{name}",
            mode=stat.S_IMODE(facts.st_mode),
            uid=facts.st_uid,
            size_bytes=facts.st_size,
            device=facts.st_dev,
            inode=facts.st_ino,
        )

    return _read_each(sorted(os.listdir(root_fd))[:_MAX_ENTRIES], read)


def _read_each(names: list[str], read: Callable[[str], T]) -> list[T]:
    """What is removed while we look is left out."""
    found = []
    for name in names:
        try:
            found.append(read(name))
        except (FileNotFoundError, PermissionError):
            continue
    return found
