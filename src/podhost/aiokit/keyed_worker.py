"""One ordered worker for each key, parallel across keys, latest value wins.

States of a key, and what ``submit`` does in each::

    idle ──submit──> running ──handler returns, nothing waiting──> idle
                       │  ▲
                submit │  │ handler returns, a value waits: it runs next
                       ▼  │
              running with one waiting value (a newer submit replaces it)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from podhost.aiokit.tasks import Tasks

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KeyedWorkers(Generic[K, V]):
    """Calls ``handler(key, value)``, never twice at once for a key.

    ``on_error(key, value, error)`` is told of a handler's exception; without it the failure is logged.
    Either way the key's worker goes on with the next value.
    """

    def __init__(
        self,
        handler: Callable[[K, V], Awaitable[None]],
        *,
        name: str,
        on_error: Callable[[K, V, Exception], None] | None = None,
    ) -> None:
        self._handler = handler
        self._name = name
        self._on_error = on_error
        self._tasks = Tasks()
        self._running: dict[K, asyncio.Task[None]] = {}
        self._waiting: dict[K, V] = {}
        self._stopped = False

    def submit(self, key: K, value: V) -> None:
        """Handle ``value`` as soon as the key's worker is free; replaces a value that still waits.

        After :meth:`stop` it does nothing.
        """
        if self._stopped:
            return
        self._waiting[key] = value
        if key not in self._running:
            self._running[key] = self._tasks.spawn(self._work(key), name=f"{self._name}:{key}")

    def is_idle(self, key: K) -> bool:
        """True when nothing runs or waits for the key."""
        return key not in self._running

    def active_keys(self) -> set[K]:
        """Keys whose handler runs now."""
        return set(self._running)

    async def wait_idle(self, key: K) -> None:
        """Wait until nothing runs or waits for the key."""
        while (task := self._running.get(key)) is not None and not task.done():
            await asyncio.wait([task])

    async def stop(self) -> None:
        """Cancel all handlers, drop what waits, and wait until they have ended."""
        self._stopped = True
        self._waiting.clear()
        await self._tasks.cancel_all()
        self._running.clear()

    async def _work(self, key: K) -> None:
        try:
            while key in self._waiting:
                value = self._waiting.pop(key)
                try:
                    await self._handler(key, value)
                except Exception as error:
                    self._report(key, value, error)
        finally:
            self._running.pop(key, None)

    def _report(self, key: K, value: V, error: Exception) -> None:
        if self._on_error is None:
            _log.error("%s: handling %s failed: %s", self._name, key, error, exc_info=error)
            return
        try:
            self._on_error(key, value, error)
        except Exception:
            _log.exception("%s: reporting a failure of %s failed", self._name, key)
