"""Watches: the changes of one resource, in order, from a version on.

A watch first replays history out of the database in small batches, then yields what its bounded buffer
collects meanwhile.  A reader that does not keep up is cut off with :class:`GoneError` and has to list again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from podhost.errors import PodhostError

Obj = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class GoneError(PodhostError):
    """The history that a watch asks for has been compacted, or its reader was too slow."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change.  ``object`` and ``previous`` are shared: never mutate them.

    ``previous`` is the state before it (``None`` for ADDED); for DELETED, ``object`` is the last state with
    the resourceVersion of the deletion.  BOOKMARK (only for a watch that asked for progress) has no object: all
    changes up to ``rv`` have been yielded.
    """

    type: EventType
    object: Obj
    previous: Obj | None
    rv: int
    renderings: dict[Any, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What the event looks like on the wire, in each form that a reader has asked for: all readers share it."""


Replay = Callable[[int, int], list[WatchEvent]]
"""``(after_rv, limit)`` -> the next events of the watch's resource after that version."""

REPLAY_BATCH = 100


class Watch:
    """Async iterator of :class:`WatchEvent`.  Made by :meth:`podhost.store.store.Store.watch`."""

    def __init__(
        self,
        *,
        namespace: str | None,
        start_rv: int,
        replay_until_rv: int,
        replay: Replay,
        capacity: int,
        progress: bool,
        on_close: Callable[[Watch], None],
    ) -> None:
        self._namespace = namespace
        self._replay_rv = start_rv
        self._replay_until_rv = replay_until_rv
        self._replay = replay
        self._replaying = start_rv < replay_until_rv
        self._capacity = capacity
        self._progress = progress
        self._on_close = on_close
        self._past: deque[WatchEvent] = deque()
        self._buffer: deque[WatchEvent] = deque()
        self._wakeup = asyncio.Event()
        self._closed = False
        self._overrun = False

    def offer(self, event: WatchEvent) -> None:
        """A change has happened (called by the store)."""
        if self._closed or self._overrun:
            return
        if self._wants(event):
            self._append(event)

    def offer_progress(self, rv: int) -> None:
        """All changes up to ``rv`` have been offered."""
        if self._progress and not (self._closed or self._overrun or self._replaying):
            self._append(WatchEvent("BOOKMARK", {}, None, rv))

    def _append(self, event: WatchEvent) -> None:
        if len(self._buffer) >= self._capacity:
            self._overrun = True
            self._buffer.clear()
        else:
            self._buffer.append(event)
        self._wakeup.set()

    @property
    def idle(self) -> bool:
        """All that has happened so far has been yielded."""
        return not (self._replaying or self._past or self._buffer or self._overrun)

    def close(self) -> None:
        """End the iteration.  Idempotent."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._wakeup.set()

    async def next_batch(self) -> list[WatchEvent]:
        """The next change and all that are there with it; empty at the end.

        Raises:
            GoneError: As :meth:`__anext__`.
        """
        try:
            batch = [await anext(self)]
        except StopAsyncIteration:
            return []
        return batch + self._take_ready()

    async def backlog(self) -> list[WatchEvent]:
        """Some of the changes that have happened already; empty when all have been yielded, and at the end.

        Raises:
            GoneError: As :meth:`__anext__`.
        """
        while not self._closed:
            self._check_overrun()
            ready = self._take_ready()
            if ready or not self._replaying:
                return ready
            await asyncio.sleep(0)  # other clients get a turn between two batches
            self._load_replay()
        return []

    def _take_ready(self) -> list[WatchEvent]:
        if self._closed or self._overrun:
            return []
        ready = [*self._past]
        self._past.clear()
        if not self._replaying:
            ready += self._buffer
            self._buffer.clear()
        return ready

    def _check_overrun(self) -> None:
        if self._overrun:
            self.close()
            raise GoneError("cannot go on watching: the reader is too slow")

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchEvent:
        """The next change.

        Raises:
            GoneError: The reader was too slow, or the history was compacted while it was being replayed.
        """
        while True:
            if self._closed:
                raise StopAsyncIteration
            self._check_overrun()
            if self._past:
                return self._past.popleft()
            if self._replaying:
                await asyncio.sleep(0)  # other clients get a turn between two batches
                self._load_replay()
            elif self._buffer:
                return self._buffer.popleft()
            else:
                self._wakeup.clear()
                await self._wakeup.wait()

    def _load_replay(self) -> None:
        if self._closed or self._overrun:
            return
        try:
            batch = self._replay(self._replay_rv, REPLAY_BATCH)
        except GoneError:
            self.close()
            raise
        past = [event for event in batch if event.rv <= self._replay_until_rv]
        if len(past) < REPLAY_BATCH:
            self._replaying = False
        else:
            self._replay_rv = past[-1].rv
        self._past.extend(event for event in past if self._wants(event))

    def _wants(self, event: WatchEvent) -> bool:
        return self._namespace is None or self._namespace == event.object["metadata"].get("namespace", "")
