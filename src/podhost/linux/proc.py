"""Processes as ``/proc`` shows them: who they are, what they have open, what is mounted for them.

Everything may end while it is read: what has gone is left out, never an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from podhost.linux.mount import MountInfo, parse_mountinfo_line

_MAX_COMMAND = 4096
_STARTTIME_FIELD = 19
_MAX_THREADS = 64
_MAX_PATH = 4096
_QUEUE_CALLS: dict[str, Literal["msgsnd", "msgrcv"]] = (
    {"189": "msgsnd", "188": "msgrcv"} if os.uname().machine == "aarch64" else {"69": "msgsnd", "70": "msgrcv"}
)
_OPEN_CALLS = {"56": 1} if os.uname().machine == "aarch64" else {"2": 0, "257": 1}
"""Numbers of open and openat → index of the path among the arguments; the flags come next."""
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """A process; ``inner_pid`` is its number in its own PID namespace."""

    pid: int
    inner_pid: int
    parent: int
    name: str
    command: str
    state: str
    start_time: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A descriptor of a file, directory, FIFO or POSIX queue.  ``mount_id`` is of the process's mount namespace."""

    pid: int
    fd: int
    path: str
    kind: Literal["file", "directory", "fifo", "device", "other"]
    device: int
    inode: int
    readable: bool
    writable: bool
    mount_id: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a process has open: inodes of its sockets, and its files."""

    sockets: tuple[int, ...] = ()
    files: tuple[OpenFile, ...] = ()


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file in a process's memory; System V segments are files named ``/SYSV…`` with their id as inode."""

    pid: int
    path: str
    inode: int
    writable: bool


@dataclass(frozen=True, slots=True)
class BlockedCall:
    """A process that waits in a System V queue's call; ``argument`` is the queue's id."""

    pid: int
    call: Literal["msgsnd", "msgrcv"]
    argument: int


@dataclass(frozen=True, slots=True)
class BlockedOpen:
    """A process that waits in open(2), as one does at a FIFO until somebody opens its other end."""

    pid: int
    path: str
    """As its process sees it, absolute."""
    writes: bool


def read_cgroup_path(pid: int) -> str | None:
    """The cgroup of a process, that of the freezer or the processes' controller on version 1; ``None``: gone."""
    text = _read(f"/proc/{pid}/cgroup")
    if text is None:
        return None
    found = {}
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return next((found[name] for name in ("freezer", "pids", "memory", "") if found.get(name, "/") != "/"), "/")


def read_process(pid: int) -> ProcessFacts | None:
    """``None`` when it has ended, or is a zombie without anything left."""
    status, line = _read(f"/proc/{pid}/status"), _read(f"/proc/{pid}/stat")
    if status is None or line is None:
        return None
    fields = dict(row.split(":", 1) for row in status.splitlines() if ":" in row)
    raw = _read(f"/proc/{pid}/cmdline") or ""
    behind = line[line.rindex(")") + 2 :].split()
    return ProcessFacts(
        pid=pid,
        inner_pid=int(fields.get("NSpid", str(pid)).split()[-1]),
        parent=int(fields["PPid"]),
        name=fields["Name"].strip(),
        command=raw[:_MAX_COMMAND].rstrip("\0").replace("\0", " "),
        state=behind[0],
        start_time=int(behind[_STARTTIME_FIELD]),
        uid=int(fields["Uid"].split()[0]),
    )


def read_descriptors(pid: int) -> Descriptors:
    """Sockets and files of a process.  Pipes, which only relatives can share, are left out."""
    sockets: list[int] = []
    files: list[OpenFile] = []
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except _GONE:
        return Descriptors()
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")
        except _GONE:
            continue
        if target.startswith("socket:["):
            sockets.append(int(target[8:-1]))
        elif target.startswith("/") and not target.startswith("/dev/null"):
            file = _read_file(pid, int(name), target)
            if file is not None:
                files.append(file)
    return Descriptors(tuple(sockets), tuple(files))


def _read_file(pid: int, fd: int, target: str) -> OpenFile | None:
    info = _read(f"/proc/{pid}/fdinfo/{fd}")
    try:
        facts = os.stat(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return None
    if info is None:
        return None
    fields = dict(row.split(":", 1) for row in info.splitlines() if ":" in row)
    flags = int(fields.get("flags", "0").strip(), 8)
    access = flags & os.O_ACCMODE
    is_path_only = bool(flags & os.O_PATH)
    return OpenFile(
        pid=pid,
        fd=fd,
        path=target.removesuffix(" (deleted)"),
        kind=_kind_of(facts.st_mode),
        device=facts.st_dev,
        inode=facts.st_ino,
        readable=not is_path_only and access in (os.O_RDONLY, os.O_RDWR),
        writable=not is_path_only and access in (os.O_WRONLY, os.O_RDWR),
        mount_id=int(fields.get("mnt_id", "0").strip()),
        deleted=target.endswith(" (deleted)"),
    )


def _kind_of(mode: int) -> Literal["file", "directory", "fifo", "device", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISFIFO(mode):
        return "fifo"
    return "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "other"


def read_shared_mappings(pid: int) -> list[MappedFile]:
    """Files that a process has mapped shared (``s`` in maps), each once."""
    found: dict[tuple[str, int], bool] = {}
    for line in (_read(f"/proc/{pid}/maps") or "").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1][3] == "s" and fields[5].startswith("/"):
            key = (fields[5].removesuffix(" (deleted)"), int(fields[4]))
            found[key] = found.get(key, False) or fields[1][1] == "w"
    return [MappedFile(pid, path, inode, writable) for (path, inode), writable in found.items()]


def read_blocked_call(pid: int) -> BlockedCall | None:
    """Whether one of its threads waits in msgsnd or msgrcv (``/proc/PID/task/TID/syscall``)."""
    for fields in _read_system_calls(pid):
        call = _QUEUE_CALLS.get(fields[0])
        if call is not None:
            return BlockedCall(pid, call, int(fields[1], 16))
    return None


def read_blocked_open(pid: int) -> BlockedOpen | None:
    """Whether one of its threads waits in open(2).  The path is read from its memory; nothing is stopped for it."""
    for fields in _read_system_calls(pid):
        index = _OPEN_CALLS.get(fields[0])
        if index is None:
            continue
        path = _read_string(pid, int(fields[1 + index], 16))
        if path:
            flags = int(fields[2 + index], 16)
            return BlockedOpen(pid, _make_absolute(pid, path), bool(flags & os.O_ACCMODE))
    return None


def _read_system_calls(pid: int) -> Iterator[list[str]]:
    """Number and arguments of the call in which each thread waits; ``running`` ones are left out."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads[:_MAX_THREADS]:
        fields = (_read(f"/proc/{pid}/task/{thread}/syscall") or "").split()
        if len(fields) > 6:
            yield fields


def _read_string(pid: int, address: int) -> str:
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        raw = b""
        # Page by page: the next one may not be there.
        while len(raw) < _MAX_PATH and b"\0" not in raw:
            at = address + len(raw)
            chunk = os.pread(fd, 4096 - at % 4096, at)
            if not chunk:
                return ""
            raw += chunk
    except (OSError, OverflowError):
        return ""
    finally:
        os.close(fd)
    return raw.partition(b"\0")[0].decode(errors="backslashreplace")


def _make_absolute(pid: int, path: str) -> str:
    try:
        start = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        start = "/"
    return os.path.normpath(os.path.join(start, path))


def read_mounts(pid: int) -> list[MountInfo]:
    """Mounts of a process's namespace; empty when it has gone."""
    return [parse_mountinfo_line(line) for line in (_read(f"/proc/{pid}/mountinfo") or "").splitlines()]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            return file.read()
    except (OSError, ValueError):
        return None


def open_stderr_of_child(pid: int) -> int | None:
    """Another read end (non-blocking) of the pipe that a child of ``pid`` has as stderr; ``None``: there is none."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except _GONE:
        return None
    for child in children:
        path = f"/proc/{child}/fd/2"
        try:
            if os.readlink(path).startswith("pipe:"):
                return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except _GONE:
            continue
    return None
