"""Patience with what is being stopped; it can be shortened while it runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class GracePeriod:
    """Begins when it is made."""

    def __init__(self, seconds: float) -> None:
        self._until_s = asyncio.get_running_loop().time() + seconds
        self._timeouts: set[asyncio.Timeout] = set()

    @property
    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._until_s - asyncio.get_running_loop().time())

    def shorten(self, seconds: float) -> None:
        """End in ``seconds`` from now, if that is sooner."""
        until = asyncio.get_running_loop().time() + seconds
        if until < self._until_s:
            self._until_s = until
            for timeout in self._timeouts:
                timeout.reschedule(until)

    async def limit(self, work: Awaitable[object]) -> bool:
        """Wait for ``work`` and give it up at the end of the period; whether it came to its own end."""
        timeout = asyncio.timeout_at(self._until_s)
        try:
            async with timeout:
                self._timeouts.add(timeout)
                try:
                    await work
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            if not timeout.expired():
                raise
            return False
        return True
