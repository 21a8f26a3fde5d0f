"""Named timers of one pod, and effects that have to wait before they are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_MIN_TIMER_S = 0.001
"""A timer may fire a moment early: never so short that a pass could ask for the same one again."""


class Timers:
    """One timer a name; each that fires asks for a pass.

    Args:
        on_due: Asks for a pass.
    """

    def __init__(self, on_due: Callable[[], None]) -> None:
        self._on_due = on_due
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._on_hold: set[str] = set()
        self._retry_delay_s: dict[str, float] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._timers

    def set(self, name: str, delay_s: float | None) -> None:
        """Fire in ``delay_s``; ``None`` takes the timer away."""
        self._cancel(name)
        if delay_s is not None:
            loop = asyncio.get_running_loop()
            self._timers[name] = loop.call_later(max(delay_s, _MIN_TIMER_S), self._on_timer, name)

    def call_later(self, name: str, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Have something else called than a pass."""
        self._cancel(name)
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, call, *args)

    def cancel_all(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _on_timer(self, name: str) -> None:
        self._timers.pop(name, None)
        self._on_hold.discard(name.removeprefix("retry:"))
        self._on_due()

    # -- effects that wait ----------------------------------------------------------------------------------

    def is_held(self, effect: str) -> bool:
        """Whether an effect may not be tried yet."""
        return effect in self._on_hold

    @property
    def holds_any(self) -> bool:
        return bool(self._on_hold)

    def hold(self, effect: str, delay_s: float | None) -> None:
        """Not before ``delay_s`` have passed; ``None``: not until something it depends on changes."""
        self._on_hold.add(effect)
        self.set(f"retry:{effect}", delay_s)

    def release(self, effect: str) -> None:
        """It may be tried at once; how long it waited last is remembered."""
        self._on_hold.discard(effect)

    def retry_later(self, effect: str, first_s: float, max_s: float) -> None:
        """Hold it twice as long as the last time."""
        delay = min(self._retry_delay_s.get(effect, first_s / 2) * 2, max_s)
        self._retry_delay_s[effect] = delay
        self.hold(effect, delay)

    def forget_retry(self, effect: str) -> None:
        """It has succeeded, or does not matter any more."""
        self._on_hold.discard(effect)
        self._retry_delay_s.pop(effect, None)
        self.set(f"retry:{effect}", None)
