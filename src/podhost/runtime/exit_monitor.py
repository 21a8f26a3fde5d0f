"""Notices that containers have exited.

conmon writes an exit file by rename, which inotify reports; its own end, seen by pidfd, is the second source,
for lost events and for a conmon that was killed.  A container whose conmon was killed is an orphan: nobody reads its
output (a write blocks or fails, its log stands still) and nobody will know its exit code.  It is ended, as containerd
does with a task whose shim has died, and its restart policy decides what follows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from podhost.aiokit.tasks import Tasks
from podhost.cri.ids import ContainerId
from podhost.linux.inotify import IN_MOVED_TO, IN_Q_OVERFLOW, Inotify
from podhost.linux.pidfd import ProcessId, open_pidfd, wait_exit

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExitFact:
    """What conmon wrote: 128 + signal for a killed process."""

    exit_code: int
    finished_at_ns: int
    message: str = ""


OnExit = Callable[[ContainerId, ExitFact | None], Awaitable[None]]
"""Called at each exit, perhaps twice; without a fact when the exit code is lost."""

KillOrphan = Callable[[ContainerId], None]
"""SIGKILL to a container whose monitor has gone.  Blocking."""

ORPHAN_EXIT = 128 + signal.SIGKILL
ORPHAN_MESSAGE = "The container's monitor (conmon) was killed, so the container was ended"


def read_exit_file(path: Path) -> ExitFact | None:
    """The exit file's content and time; ``None`` when there is none.  Blocking."""
    try:
        text = path.read_text()
        finished_at_ns = path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        return ExitFact(int(text.strip()), finished_at_ns)
    except ValueError:
        _log.error("cannot read the exit file %s: it says %r", path, text[:80])
        return ExitFact(255, finished_at_ns)


class ExitMonitor:
    """One inotify instance for all containers, and a task for each living one."""

    def __init__(self, exits: Path, on_exit: OnExit, kill_orphan: KillOrphan) -> None:
        self._exits = exits
        self._on_exit = on_exit
        self._kill_orphan = kill_orphan
        self._tasks = Tasks()
        self._watched: dict[ContainerId, asyncio.Task[None]] = {}
        self._inotify: Inotify | None = None

    def start(self) -> None:
        """Listen for exit files from now on."""
        self._inotify = Inotify()
        self._inotify.add_watch(self._exits, IN_MOVED_TO)
        self._tasks.spawn(self._run(self._inotify), name="runtime-exit-files")

    def watch(self, container_id: ContainerId, *, monitor: ProcessId | None, process: ProcessId | None) -> None:
        """Watch a living container until its exit was handled.  Idempotent."""
        if container_id not in self._watched:
            task = self._tasks.spawn(
                self._watch_one(container_id, monitor, process), name=f"runtime-exit:{container_id}"
            )
            self._watched[container_id] = task
            task.add_done_callback(lambda _: self._watched.pop(container_id, None))

    async def close(self) -> None:
        """Stop listening."""
        if self._inotify is not None:
            self._inotify.close()
        await self._tasks.cancel_all()

    async def _run(self, inotify: Inotify) -> None:
        async for event in inotify:
            if event.mask & IN_Q_OVERFLOW:
                names = await asyncio.to_thread(os.listdir, self._exits)
            else:
                names = [event.name]
            for name in names:
                self._tasks.spawn(self._handle_file(ContainerId(name)), name=f"runtime-exit-file:{name}")

    async def _handle_file(self, container_id: ContainerId) -> None:
        fact = await asyncio.to_thread(read_exit_file, self._exits / container_id)
        if fact is not None:
            await self._on_exit(container_id, fact)

    async def _watch_one(self, container_id: ContainerId, monitor: ProcessId | None, process: ProcessId | None) -> None:
        await wait_process(monitor)
        fact = await asyncio.to_thread(read_exit_file, self._exits / container_id)
        if fact is None:
            fact = await self._wait_orphan(container_id, process, end_it=monitor is not None)
        await self._on_exit(container_id, fact)

    async def _wait_orphan(
        self, container_id: ContainerId, process: ProcessId | None, *, end_it: bool
    ) -> ExitFact | None:
        """``None`` when it had ended by itself; ``end_it`` is false where it is not known whether conmon lives."""
        fd = None if process is None else await asyncio.to_thread(open_pidfd, process)
        if fd is None:
            return None
        try:
            if end_it:
                _log.warning("container %s: its conmon was killed; the container is ended", container_id)
                await asyncio.to_thread(self._kill_orphan, container_id)
            await wait_exit(fd)
        finally:
            os.close(fd)
        return ExitFact(ORPHAN_EXIT, time.time_ns(), ORPHAN_MESSAGE) if end_it else None


async def wait_process(process: ProcessId | None) -> None:
    """Return when the process has ended; at once when it is gone already."""
    fd = None if process is None else await asyncio.to_thread(open_pidfd, process)
    if fd is None:
        return
    try:
        await wait_exit(fd)
    finally:
        os.close(fd)
