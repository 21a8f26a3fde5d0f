"""Tells log followers that something in their directory has changed.  One inotify instance for all of them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podhost.aiokit.tasks import Tasks
from podhost.linux import inotify
from podhost.linux.inotify import Inotify

_MASK = (
    inotify.IN_MODIFY
    | inotify.IN_CREATE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_DELETE
    | inotify.IN_DELETE_SELF
)


@dataclass(slots=True)
class _Directory:
    path: Path
    waiters: set[asyncio.Event] = field(default_factory=set)


class LogWatcher:
    """Directory watches, shared and counted.  The instance is opened with the first follower."""

    def __init__(self) -> None:
        self._tasks = Tasks()
        self._inotify: Inotify | None = None
        self._directories: dict[int, _Directory] = {}

    @contextmanager
    def watch(self, directory: Path) -> Iterator[asyncio.Event]:
        """An event that is set at each change in the directory.  Raises OSError when it cannot be watched."""
        wd = self._open().add_watch(directory, _MASK)
        entry = self._directories.setdefault(wd, _Directory(directory))
        changed = asyncio.Event()
        entry.waiters.add(changed)
        try:
            yield changed
        finally:
            entry.waiters.discard(changed)
            if not entry.waiters and self._directories.get(wd) is entry:
                del self._directories[wd]
                if self._inotify is not None:
                    self._inotify.rm_watch(wd)

    async def close(self) -> None:
        """Wake everybody up and end.  Idempotent."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        await self._tasks.cancel_all()
        self._wake_all()

    def _open(self) -> Inotify:
        if self._inotify is None:
            self._inotify = Inotify()
            self._tasks.spawn(self._run(self._inotify), name="log-watcher")
        return self._inotify

    async def _run(self, source: Inotify) -> None:
        async for event in source:
            if event.mask & inotify.IN_Q_OVERFLOW:
                self._wake_all()
                continue
            entry = self._directories.get(event.wd)
            if entry is None:
                continue
            for waiter in entry.waiters:
                waiter.set()
            if event.mask & inotify.IN_IGNORED:
                self._directories.pop(event.wd, None)

    def _wake_all(self) -> None:
        for entry in self._directories.values():
            for waiter in entry.waiters:
                waiter.set()


def is_missing(error: OSError) -> bool:
    """The directory is gone, as opposed to: it cannot be watched."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR)
