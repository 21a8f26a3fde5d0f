"""Reads a container's CRI log files, and follows them across rotation.

Rotation renames ``0.log`` to ``0.log.<time>`` and the writer opens a new ``0.log``.  A reader holds the file
it is in, reads it to its end, and goes on with the next one, which is told apart by its inode::

    read to the end ──new file under the name──▶ read the rest of the old one, open the new one
         │ ▲
         │ └─── the directory changed (inotify) / the container ended
         └─ at the end, and the container had ended before that read ──▶ done
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from podhost.cri.node import LogOptions
from podhost.kubelet.cri_log import STDERR, STDOUT, LogDecoder, find_tail_offset
from podhost.kubelet.log_watcher import LogWatcher, is_missing

CHUNK_BYTES = 1 << 20
_STREAMS = {"Stdout": STDOUT, "Stderr": STDERR}


@dataclass(frozen=True, slots=True)
class LogSource:
    """Which log is read, and how its end is known."""

    path: Path
    is_running: Callable[[], bool]
    """Whether more can be written; asked before each read."""
    on_end: Callable[[Callable[[], None]], Callable[[], None]] | None = None
    """Registers a callback for the container's end; returns the undo."""


def list_segments(path: Path) -> list[Path]:
    """Rotated files of a log in the order of their time, then the log itself.  Compressed ones are left out."""
    prefix = path.name + "."
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return [path]
    rotated = sorted(n for n in names if n.startswith(prefix) and not n.endswith((".gz", ".tmp")))
    return [*(path.parent / name for name in rotated), path]


@dataclass(slots=True)
class _Position:
    """Open segments still to be read, the first of them from ``offset``, the last up to ``end`` if that is set."""

    fds: list[int]
    offset: int = 0
    end: int | None = None

    def read_next(self) -> bytes:
        """What comes next in the first segment; empty at its end."""
        count = CHUNK_BYTES
        if self.end is not None and len(self.fds) == 1:
            count = max(0, min(count, self.end - self.offset))
        data = os.pread(self.fds[0], count, self.offset)
        self.offset += len(data)
        return data

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def _open_all(path: Path) -> list[int]:
    """All segments, opened; again if a rotation came in between, as it could hide one of them."""
    while True:
        segments = list_segments(path)
        fds: list[int] = []
        for segment in segments:
            try:
                fds.append(os.open(segment, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                continue
        if list_segments(path) == segments:
            return fds
        _close_all(fds)


def _open_segments(path: Path, options: LogOptions) -> _Position:
    """Who does not follow gets what there is now: a container may write faster than anybody reads."""
    position = _Position(_open_all(path))
    if not options.follow and position.fds:
        position.end = os.fstat(position.fds[-1]).st_size
    if options.tail_lines is not None:
        _seek_tail(position, options.tail_lines)
    return position


def _read_at(fd: int, offset: int, count: int) -> bytes:
    return os.pread(fd, count, offset)


def _seek_tail(position: _Position, tail_lines: int) -> None:
    missing = tail_lines
    for index in range(len(position.fds) - 1, -1, -1):
        fd = position.fds[index]
        goes_on = index < len(position.fds) - 1
        size = os.fstat(fd).st_size if goes_on or position.end is None else position.end
        offset, missing = find_tail_offset(size, missing, partial(_read_at, fd), goes_on=goes_on)
        if missing == 0:
            for old in position.fds[:index]:
                os.close(old)
            position.fds = position.fds[index:]
            position.offset = offset
            return


class LogReader:
    """One reading of one log."""

    def __init__(self, source: LogSource, options: LogOptions, watcher: LogWatcher) -> None:
        self._source = source
        self._options = options
        self._watcher = watcher
        self._decoder = LogDecoder(
            timestamps=options.timestamps,
            since_ns=options.since_ns,
            stream=_STREAMS.get(options.stream),
        )
        self._left = options.limit_bytes

    async def read(self) -> AsyncIterator[bytes]:
        """Chunks of whole lines, until the end or, when following, until the container has ended."""
        follow = self._options.follow
        watching = self._watcher.watch(self._source.path.parent) if follow else nullcontext(asyncio.Event())
        try:
            with watching as changed:
                undo = self._source.on_end(changed.set) if follow and self._source.on_end else None
                try:
                    async for chunk in self._read_watched(changed):
                        yield chunk
                finally:
                    if undo is not None:
                        undo()
        except OSError as error:
            if not is_missing(error):
                raise

    async def _read_watched(self, changed: asyncio.Event) -> AsyncIterator[bytes]:
        position = await asyncio.to_thread(_open_segments, self._source.path, self._options)
        try:
            while True:
                changed.clear()
                was_running = self._source.is_running()
                data, at_end = await asyncio.to_thread(self._read_some, position)
                if data:
                    data = self._limit(data)
                    yield data
                    if self._left == 0:
                        return
                if not at_end:
                    continue
                if not self._options.follow or not was_running:
                    return
                await changed.wait()
        finally:
            position.close()

    def _limit(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        data = data[: self._left]
        self._left -= len(data)
        return data

    def _read_some(self, position: _Position) -> tuple[bytes, bool]:
        """(decoded output, whether everything that is there now has been read)."""
        while True:
            if not position.fds and not self._open_next(position, None):
                return b"", True
            if data := position.read_next():
                return self._decoder.feed(data), False
            if len(position.fds) == 1:
                inode = os.fstat(position.fds[0]).st_ino
                if not self._options.follow or not self._open_next(position, inode):
                    return b"", True
                # Written between the last read and the rotation: look at the old file once more.
                if data := position.read_next():
                    return self._decoder.feed(data), False
            os.close(position.fds.pop(0))
            position.offset = 0

    def _open_next(self, position: _Position, current_inode: int | None) -> bool:
        """Append the files that have come since, in their order; False when there is none."""
        fds = _open_all(self._source.path)
        if current_inode is not None:
            inodes = [os.fstat(fd).st_ino for fd in fds]
            # A file that is gone (compressed, removed) tells no place: older ones must not be read again.
            first = inodes.index(current_inode) + 1 if current_inode in inodes else len(fds) - 1
            _close_all(fds[:first])
            fds = fds[first:]
        position.fds.extend(fds)
        return bool(fds)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
