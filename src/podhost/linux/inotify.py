"""File events for asyncio.  One instance serves many watches: hosts allow few instances."""

from __future__ import annotations

import asyncio
import os
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from podhost.linux import syscalls

IN_ACCESS = 0x1
IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000
IN_DONT_FOLLOW = 0x02000000
IN_MASK_ADD = 0x20000000
IN_ISDIR = 0x40000000

_HEADER = struct.Struct("iIII")
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class InotifyEvent:
    """inotify(7).  ``wd`` is -1 with IN_Q_OVERFLOW: events were lost, look again at everything."""

    wd: int
    mask: int
    name: str


class Inotify:
    """Iterate to get events, in order; iteration ends after :meth:`close`.  For one consumer."""

    def __init__(self) -> None:
        self._fd = syscalls.inotify_init1()
        self._events: deque[InotifyEvent] = deque()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._on_readable)

    def add_watch(self, path: Path, mask: int) -> int:
        """Watch a file or directory; returns the watch.  Raises OSError (ENOSPC: too many watches)."""
        return syscalls.inotify_add_watch(self._fd, path, mask)

    def rm_watch(self, wd: int) -> None:
        """Stop a watch; one that ended by itself is fine.  An IN_IGNORED event follows."""
        try:
            syscalls.inotify_rm_watch(self._fd, wd)
        except OSError:
            # EINVAL: the watched thing was deleted, and the watch with it.
            pass

    def close(self) -> None:
        """Drop all watches and end the iteration.  Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._arrived.set()

    def __aiter__(self) -> Inotify:
        return self

    async def __anext__(self) -> InotifyEvent:
        while not self._events:
            if self._fd < 0:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        self._events.extend(parse_events(data))
        self._arrived.set()


def parse_events(data: bytes) -> list[InotifyEvent]:
    """Decode what one read of an inotify descriptor returned."""
    events = []
    offset = 0
    while offset < len(data):
        wd, mask, _cookie, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        name = data[offset : offset + length].rstrip(b"\0")
        offset += length
        events.append(InotifyEvent(wd, mask, os.fsdecode(name)))
    return events
