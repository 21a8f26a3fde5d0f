"""A work queue with client-go's semantics.

A key is handled by one worker at a time.  Added while it waits, it is there once; added while it is being
handled, it is handled once more after :meth:`WorkQueue.done`::

    absent ──add──> waiting ──get──> processing ──done──> absent
                                        │ add
                                        ▼
                                  processing, dirty ──done──> waiting
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from podhost.aiokit.backoff import Backoff
from podhost.aiokit.tasks import Tasks

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class ShutDownError(Exception):
    """The queue was shut down and is empty."""


class WorkQueue(Generic[K]):
    """Keys to be worked on.  For one event loop; not thread-safe."""

    def __init__(self, *, initial_backoff_s: float = 0.005, max_backoff_s: float = 1000.0) -> None:
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        # client-go's rate limiter never forgets by itself, only by forget().
        self._backoff: Backoff[K] = Backoff(initial_backoff_s, max_backoff_s, reset_after_s=float("inf"))
        self._shut_down = False

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Have the key handled soon."""
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: K, delay_s: float) -> None:
        """Add the key in ``delay_s`` seconds; of several pending delays for a key the earliest counts."""
        if self._shut_down:
            return
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + delay_s:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(delay_s, self._on_timer, key)

    def add_rate_limited(self, key: K) -> None:
        """Add the key after its back-off, which grows until :meth:`forget`."""
        self.add_after(key, self._backoff.next(key, 0.0))

    def forget(self, key: K) -> None:
        """The key was handled well: its next failure starts with the shortest delay."""
        self._backoff.reset(key)

    async def get(self) -> K:
        """The next key, which is then being handled until :meth:`done`.

        Raises:
            ShutDownError: The queue was shut down and nothing waits any more.
        """
        while not self._ready:
            if self._shut_down:
                raise ShutDownError
            await self._wait_for_key()
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """Handling of the key has ended, well or not."""
        self._processing.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake_one()

    def shut_down(self) -> None:
        """Accept nothing more; what waits is still handed out, then :meth:`get` raises."""
        self._shut_down = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for getter in self._getters:
            if not getter.done():
                getter.set_result(None)

    def _on_timer(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    async def _wait_for_key(self) -> None:
        getter = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            await getter
        except asyncio.CancelledError:
            # It may have been woken for a key just before it was cancelled: hand the wake-up on.
            if getter.done() and not getter.cancelled() and self._ready:
                self._wake_one()
            raise
        finally:
            if getter in self._getters:
                self._getters.remove(getter)

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


async def run_workers(
    queue: WorkQueue[K], handler: Callable[[K], Awaitable[None]], *, workers: int = 1, name: str = "worker"
) -> None:
    """Handle keys with ``workers`` at once until the queue is shut down and empty.

    A handler that raises is logged and its key added again, rate limited; one that returns is forgotten.
    """

    async def run_worker() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDownError:
                return
            try:
                await handler(key)
            except Exception as error:
                _log.warning("%s: handling %s failed, will retry: %s", name, key, error, exc_info=error)
                queue.add_rate_limited(key)
            else:
                queue.forget(key)
            finally:
                queue.done(key)

    tasks = Tasks()
    try:
        await asyncio.gather(*(tasks.spawn(run_worker(), name=f"{name}-{n}") for n in range(workers)))
    finally:
        await tasks.cancel_all()
