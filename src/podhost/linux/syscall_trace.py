"""Calls that ask for an IPC object which does not exist, seen through the kernel's own system call events (tracefs).

For as long as somebody looks, a private trace instance records four pairs of events of the whole machine and nothing
else.  It has no process and no descriptor that would take it away, so its name tells whose it is, and
:func:`remove_stale_traces` takes away what a daemon that was killed has left.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from podhost.linux.mount import open_detached

NameReader = Callable[[int, int], str]
"""(thread, address) → the string there."""

_NUMERIC = ("msgget", "semget", "shmget")
_NAMED = ("mq_open",)
_PREFIX = "podhost-"
_MISSING = -2  # ENOENT
_LINE = re.compile(
    r"-(?P<pid>\d+) +(?:\(.*?\) +)?\[\d+\].*?: sys_(?P<call>\w+)(?:\((?P<args>[^)]*)\)| -> (?P<result>\S+))$"
)
_NAME_LIMIT_BYTES = 256
_UNKNOWN = "(name unknown)"
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedLookup:
    """A process that asked for an object that does not exist.  ``key`` is for System V calls, ``name`` for POSIX."""

    pid: int
    """In the host's PID namespace."""
    call: str
    count: int
    key: int = 0
    name: str = ""


def observe_missed_lookups(duration_s: float) -> list[MissedLookup]:
    """Watch for ``duration_s`` seconds; blocking.  Only one caller at a time, others wait.

    Raises:
        OSError: The kernel has no tracefs or no system call events, or we may not use them.
    """
    with _one_at_a_time, open_detached("tracefs") as root_fd, _trace_instance(root_fd) as instance_fd:
        threading.Event().wait(duration_s)
        _write(instance_fd, "tracing_on", "0")
        return count_missed_lookups(_read(instance_fd, "trace"), read_name, read_process)


def remove_stale_traces() -> None:
    """What processes that no longer live have left; blocking.  Where there is no tracefs there is nothing."""
    with suppress(OSError), open_detached("tracefs") as root_fd:
        for name in _list(root_fd, "instances"):
            owner = name.removeprefix(_PREFIX)
            if name.startswith(_PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                _remove_instance(root_fd, name)


def count_missed_lookups(text: str, name_at: NameReader, process_of: Callable[[int], int]) -> list[MissedLookup]:
    """From the text of a trace: each entry paired with its exit, equal ones counted."""
    counts: dict[tuple[int, str, int, str], int] = {}
    for thread, call, argument in parse_missed(text.splitlines()):
        key, name = (argument & 0xFFFFFFFF, "") if call in _NUMERIC else (0, name_at(thread, argument))
        found = (process_of(thread), call, key, name)
        counts[found] = counts.get(found, 0) + 1
    return [
        MissedLookup(pid=pid, call=call, count=count, key=key, name=name)
        for (pid, call, key, name), count in counts.items()
    ]


def parse_missed(lines: Iterable[str]) -> Iterator[tuple[int, str, int]]:
    """(thread, call, first argument) of each call that ended with ENOENT."""
    entered: dict[tuple[int, str], int] = {}
    for line in lines:
        match = _LINE.search(line)
        if match is None:
            continue
        thread = (int(match["pid"]), match["call"])
        if match["result"] is None:
            first = match["args"].partition(",")[0].rpartition(": ")[2]
            entered[thread] = int(first, 16)
        elif (argument := entered.pop(thread, None)) is not None and _signed(match["result"]) == _MISSING:
            yield *thread, argument


def read_name(pid: int, address: int) -> str:
    """The name of a POSIX queue, which is at ``address`` of a process; a word for it if that has ended."""
    with suppress(OSError, OverflowError):
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A page at a time: the string may lie at the end of what is mapped.
            room = min(_NAME_LIMIT_BYTES, 4096 - address % 4096)
            raw = os.pread(fd, room, address)
        finally:
            os.close(fd)
        text, end, _ = raw.partition(b"\0")
        # The kernel knows a queue without the slash that mq_open(3) asks for.
        return "/" + text.decode(errors="replace").lstrip("/") if end else _UNKNOWN
    return _UNKNOWN


def read_process(thread: int) -> int:
    """The process that a thread belongs to; the thread's own number when it has ended."""
    with suppress(OSError), open(f"/proc/{thread}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    return thread


def _signed(text: str) -> int:
    value = int(text, 16)
    return value - (1 << 64) if value >> 63 else value


@contextmanager
def _trace_instance(root_fd: int) -> Iterator[int]:
    name = f"{_PREFIX}{os.getpid()}"
    with suppress(FileNotFoundError):
        _remove_instance(root_fd, name)
    os.mkdir(f"instances/{name}", dir_fd=root_fd)
    try:
        instance_fd = os.open(f"instances/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        try:
            for call in (*_NUMERIC, *_NAMED):
                _write(instance_fd, f"events/syscalls/sys_exit_{call}/filter", f"ret == {_MISSING}")
                for moment in ("enter", "exit"):
                    _write(instance_fd, f"events/syscalls/sys_{moment}_{call}/enable", "1")
            yield instance_fd
        finally:
            os.close(instance_fd)
    finally:
        _remove_instance(root_fd, name)


def _remove_instance(root_fd: int, name: str) -> None:
    """Its events end with it."""
    os.rmdir(f"instances/{name}", dir_fd=root_fd)


def _list(root_fd: int, path: str) -> list[str]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _write(directory_fd: int, path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(directory_fd: int, path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory_fd)
    with os.fdopen(fd, errors="replace") as file:
        return file.read()
