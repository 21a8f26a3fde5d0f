"""Wall-clock time as a collaborator, so that tests can move it.

Durations and deadlines use ``asyncio.get_running_loop().time()``; this is only for timestamps that are shown
or stored.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Tells the time of day."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since the epoch."""

    def now(self) -> datetime:
        """UTC, aware, to the microsecond."""


def datetime_from_ns(ns: int) -> datetime:
    """The aware UTC datetime of nanoseconds since the epoch, without a float's rounding."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def now(self) -> datetime:
        return datetime_from_ns(time.time_ns())


class FakeClock:
    """A clock for tests: starts at ``start`` and moves with the running loop's time and with :meth:`advance`.

    Under looptime the loop's time is virtual, so both stay in step without waiting.  Outside of a loop it
    stands still until it is advanced.
    """

    def __init__(self, start: datetime | None = None) -> None:
        begin = start or datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
        since_epoch = begin - _EPOCH
        self._base_ns = (since_epoch // timedelta(microseconds=1)) * 1000
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_start_s = 0.0
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        elapsed_ns = self._loop_elapsed_ns()
        return self._base_ns + elapsed_ns

    def now(self) -> datetime:
        return datetime_from_ns(self.now_ns())

    def advance(self, seconds: float) -> None:
        """Move forward by hand."""
        self._base_ns += round(seconds * _NS_PER_S)

    def _loop_elapsed_ns(self) -> int:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return 0
        now_s = loop.time()
        if loop is not self._loop or now_s < self._loop_start_s:
            # Another loop, or one whose time has become virtual: go on from here, never back.
            self._loop, self._loop_start_s = loop, now_s
            self._base_ns += self._elapsed_ns
        self._elapsed_ns = round((now_s - self._loop_start_s) * _NS_PER_S)
        return self._elapsed_ns
