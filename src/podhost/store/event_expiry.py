"""Events are gone an hour after they were last written, and the oldest before that when there are very many.

When each was written is not kept: versions rise with time.  One mark a minute says which version was the last then,
and an hour later all Events up to it go, as with the leases that kube-apiserver gives to the Events of a minute::

    write ──▶ the mark of this minute, or a new one        the first mark's hour is over ──▶ Events up to it go
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from podhost.aiokit.clock import Clock
from podhost.errors import PodhostError
from podhost.store.store import Obj, Store
from podhost.store.watch import WatchEvent

EVENT_TTL_S = 3600
EVENT_LIMIT = 10_000
"""More are not kept: a list reads them all, and a pod that comes and goes leaves a dozen."""
_NS_PER_S = 1_000_000_000
_MARK_NS = 60 * _NS_PER_S
_BATCH = 100
_RETRY_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Mark:
    """Events up to version ``rv`` that no earlier mark has were written in the minute from ``since_ns`` on."""

    since_ns: int
    rv: int


class EventExpiry:
    """Deletes Events that have had their time.  One timer for all of them."""

    def __init__(self, store: Store, clock: Clock, *, ttl_s: float = EVENT_TTL_S, limit: int = EVENT_LIMIT) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._ttl_ns = round(ttl_s * _NS_PER_S)
        self._marks: deque[_Mark] = deque()
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._undo = store.subscribe("events", self._on_change)

    def start(self) -> None:
        """Take up the events that are in the store already.  Call in the event loop."""
        self._started = True
        now_ns = self._clock.now_ns()
        written = sorted((_read_rv(event), _last_written_ns(event)) for event in self._store.scan("events"))
        self._count = len(written)
        self._marks.clear()
        for rv, written_ns in written:
            self._mark(min(written_ns, now_ns), rv)
        self._arm()

    def stop(self) -> None:
        """Idempotent."""
        self._started = False
        self._undo()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_change(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._count -= 1
            return
        self._count += event.type == "ADDED"
        self._mark(self._clock.now_ns(), event.rv)
        if self._started and (self._timer is None or self._is_crowded):
            self._arm()

    def _mark(self, at_ns: int, rv: int) -> None:
        if self._marks and at_ns < self._marks[-1].since_ns + _MARK_NS:
            self._marks[-1].rv = rv
        else:
            self._marks.append(_Mark(at_ns, rv))

    @property
    def _is_crowded(self) -> bool:
        return self._count > self._limit

    def _arm(self, delay_s: float | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_s is None and not self._is_crowded:
            if not self._marks:
                return
            due_ns = self._marks[0].since_ns + _MARK_NS + self._ttl_ns
            delay_s = max(0.0, (due_ns - self._clock.now_ns()) / _NS_PER_S)
        self._timer = asyncio.get_running_loop().call_later(delay_s or 0.0, self._expire)

    def _expire(self) -> None:
        """One batch; others get a turn before the next."""
        due_ns = self._clock.now_ns() - self._ttl_ns - _MARK_NS
        due_rv = max((mark.rv for mark in self._marks if mark.since_ns <= due_ns), default=0)
        # Some more than must go: the oldest are not looked for at each write.
        room = self._limit - self._limit // 100 if self._is_crowded else self._limit
        try:
            oldest = self._store.oldest("events", _BATCH)
            while oldest and (oldest[0][0] <= due_rv or self._count > room):
                self._store.delete(oldest.popleft()[1])
        except PodhostError as error:
            _log.warning("cannot expire events: %s", error)
            self._arm(_RETRY_S)
            return
        if oldest or not self._count:
            while self._marks and (not oldest or self._marks[0].rv < oldest[0][0]):
                self._marks.popleft()
        self._arm()


def _read_rv(event: Obj) -> int:
    return int(event["metadata"]["resourceVersion"])


def _last_written_ns(event: Obj) -> int:
    series = event.get("series") or {}
    metadata = event["metadata"]
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        metadata.get("creationTimestamp"),
    )
    for text in times:
        if isinstance(text, str):
            try:
                return round(datetime.fromisoformat(text).timestamp()) * _NS_PER_S
            except ValueError:
                continue
    return 0
