"""Log lines of several containers in the order of their timestamps.  Pure: no I/O, the time is an argument."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

WINDOW_S = 0.1
"""How long a line waits for an older one of another container."""


@dataclass(frozen=True, slots=True, order=True)
class LogLine:
    """One line; lines compare by time, then by their order of arrival."""

    timestamp: bytes
    sequence: int
    source: int = field(compare=False)
    """Index of the container in the list of those that are followed."""
    text: bytes = field(compare=False)


def split_timestamp(line: bytes) -> tuple[bytes, bytes]:
    """(timestamp with nine digits in UTC, text) of a line as ``timestamps=true`` gives it.

    Timestamps of one form compare as bytes.  A line without one keeps its text and sorts first.
    """
    stamp, space, text = line.partition(b" ")
    if not space and not stamp.endswith(b"Z"):
        return b"", line
    if len(stamp) == 30 and stamp.endswith(b"Z"):
        return stamp, text
    normal = _normalise(stamp)
    return (normal, text) if normal else (b"", line)


def _normalise(stamp: bytes) -> bytes:
    text = stamp.decode("ascii", "replace")
    head, dot, tail = text.partition(".")
    digits = ""
    zone = ""
    if dot:
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        zone = tail[len(digits) :]
    else:
        head, zone = (text[:-1], "Z") if text.endswith("Z") else (text[:19], text[19:])
    try:
        moment = datetime.fromisoformat(head + ("+00:00" if zone in ("Z", "") else zone)).astimezone(UTC)
    except ValueError:
        return b""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{digits[:9]:0<9}Z".encode()


def merge_sorted(sources: Iterable[Iterable[bytes]]) -> Iterator[LogLine]:
    """Merge whole logs, each in its own order already; the timestamps are split off."""
    return heapq.merge(*(_lines(index, source) for index, source in enumerate(sources)))


def _lines(index: int, source: Iterable[bytes]) -> Iterator[LogLine]:
    last = b""
    for sequence, line in enumerate(source):
        stamp, text = split_timestamp(line)
        # A container's own order is never changed, whatever its clock did.
        last = max(last, stamp)
        yield LogLine(last, sequence, index, text)


class LogMerger:
    """Lines in as they arrive, lines out in order: each waits :data:`WINDOW_S` for older ones."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._heap: list[tuple[LogLine, float]] = []
        self._sequence = 0
        self._last: dict[int, bytes] = {}

    def push(self, source: int, line: bytes, now_s: float) -> None:
        """``line`` begins with its timestamp."""
        stamp, text = split_timestamp(line)
        stamp = max(stamp, self._last.get(source, b""))
        self._last[source] = stamp
        self._sequence += 1
        heapq.heappush(self._heap, (LogLine(stamp, self._sequence, source, text), now_s))

    def pop_ready(self, now_s: float) -> list[LogLine]:
        """Lines that have waited long enough, with all that are older."""
        arrivals = [arrived for _, arrived in self._heap if arrived <= now_s - self._window_s]
        if not arrivals:
            return []
        newest = max(line for line, arrived in self._heap if arrived <= now_s - self._window_s)
        ready = []
        while self._heap and self._heap[0][0] <= newest:
            ready.append(heapq.heappop(self._heap)[0])
        return ready

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something will be ready; ``None`` when nothing waits."""
        if not self._heap:
            return None
        return max(0.0, min(arrived for _, arrived in self._heap) + self._window_s - now_s)

    def flush(self) -> list[LogLine]:
        """Everything that waits."""
        ready = [heapq.heappop(self._heap)[0] for _ in range(len(self._heap))]
        return ready
