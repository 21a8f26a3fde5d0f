"""Processes by identity, not by number: numbers are used again, (pid, start time, boot) is not."""

from __future__ import annotations

import asyncio
import functools
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_FLAGS_FIELD = 6
_STARTTIME_FIELD = 19
_PENDING_FIELD = 28
"""Indices of ``flags``, ``starttime`` and ``signal`` (9th, 22nd and 31st field of proc_pid_stat(5)) behind the
command's closing parenthesis."""
_PF_EXITING = 0x4
_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Names one process for ever; safe to keep on disk."""

    pid: int
    start_time: int
    """Clock ticks after boot."""
    boot_id: str


@functools.cache
def boot_id() -> str:
    """Random name of the present boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessId | None:
    """Identity of a running (or not yet reaped) process, or ``None``."""
    fields = _read_stat(pid)
    return None if fields is None else ProcessId(pid, int(fields[_STARTTIME_FIELD]), boot_id())


def _read_stat(pid: int) -> list[bytes] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command, in parentheses, may itself hold spaces and parentheses.
    return stat[stat.rindex(b")") + 2 :].split()


def is_ending(pid: ProcessId) -> bool:
    """Whether it has ended or is about to: SIGKILL waits for it, or the kernel is taking it apart.

    The first process of a PID namespace is seen to end only after all others in it have; they die before.
    """
    fields = _read_stat(pid.pid)
    if fields is None or pid.boot_id != boot_id() or int(fields[_STARTTIME_FIELD]) != pid.start_time:
        return True
    return bool(int(fields[_FLAGS_FIELD]) & _PF_EXITING or int(fields[_PENDING_FIELD]) & _SIGKILL_BIT)


def open_pidfd(pid: ProcessId) -> int | None:
    """A descriptor of exactly this process; ``None`` when it is gone or its number now names another."""
    if pid.boot_id != boot_id():
        return None
    try:
        fd = os.pidfd_open(pid.pid)
    except ProcessLookupError:
        return None
    # Looked at after opening: if the number still names the same process now, the descriptor does as well.
    if identify(pid.pid) != pid:
        os.close(fd)
        return None
    return fd


def send_signal(fd: int, sig: int) -> bool:
    """Signal the process; False when it has ended already."""
    try:
        signal.pidfd_send_signal(fd, sig)
    except ProcessLookupError:
        return False
    return True


def open_living(pids: Iterable[int]) -> dict[int, int]:
    """Descriptors, by pid, of those that have not exited; a zombie's would be readable at once."""
    found = {}
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        if select.select([fd], [], [], 0)[0]:
            os.close(fd)
        else:
            found[pid] = fd
    return found


def wait_all_exited(fds: Iterable[int], deadline_s: float) -> None:
    """Blocking, until a moment of ``time.monotonic``."""
    for fd in fds:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.poll(max(0.0, deadline_s - time.monotonic()) * 1000)


async def wait_exit(fd: int) -> None:
    """Wait until the process has ended (it may still be a zombie).  Several may wait on one descriptor."""
    loop = asyncio.get_running_loop()
    # A descriptor of its own: the loop keeps one callback for each, and the caller may close his meanwhile.
    own_fd = os.dup(fd)
    exited: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        loop.remove_reader(own_fd)
        if not exited.done():
            exited.set_result(None)

    try:
        loop.add_reader(own_fd, on_readable)
        await exited
    finally:
        loop.remove_reader(own_fd)
        os.close(own_fd)
