"""Exponential back-off for each key, as arithmetic on given times: no clock, no timer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Entry:
    delay_s: float
    updated_at_s: float


class Backoff(Generic[K]):
    """Delays that grow by ``factor`` from ``initial_s`` up to ``max_s``.

    A key that was left alone for more than ``reset_after_s`` (twice ``max_s`` unless told) starts afresh.
    All times are seconds of one monotonic clock.
    """

    def __init__(self, initial_s: float, max_s: float, factor: float = 2.0, reset_after_s: float | None = None) -> None:
        self._initial_s = initial_s
        self._max_s = max_s
        self._factor = factor
        self._reset_after_s = 2 * max_s if reset_after_s is None else reset_after_s
        self._entries: dict[K, _Entry] = {}

    def delay_s(self, key: K, now_s: float) -> float:
        """Length of the present back-off; 0 for a key that has none."""
        entry = self._entries.get(key)
        return 0.0 if entry is None or self._is_stale(entry, now_s) else entry.delay_s

    def remaining_s(self, key: K, now_s: float) -> float:
        """Seconds until the present back-off, counted from the last :meth:`next`, is over."""
        entry = self._entries.get(key)
        if entry is None or self._is_stale(entry, now_s):
            return 0.0
        # The upper bound is against rounding: the sum of two floats may lie above them.
        return min(entry.delay_s, max(0.0, entry.updated_at_s + entry.delay_s - now_s))

    def next(self, key: K, now_s: float) -> float:
        """Count one more failure at ``now_s`` and return the delay that follows it."""
        entry = self._entries.get(key)
        if entry is None or self._is_stale(entry, now_s):
            delay_s = self._initial_s
        else:
            delay_s = min(entry.delay_s * self._factor, self._max_s)
        self._entries[key] = _Entry(delay_s, now_s)
        return delay_s

    def reset(self, key: K) -> None:
        """Forget the key's failures."""
        self._entries.pop(key, None)

    def gc(self, now_s: float) -> None:
        """Drop the entries that no longer count."""
        for key in [key for key, entry in self._entries.items() if self._is_stale(entry, now_s)]:
            del self._entries[key]

    def _is_stale(self, entry: _Entry, now_s: float) -> bool:
        return now_s - entry.updated_at_s > self._reset_after_s
