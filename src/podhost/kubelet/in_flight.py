"""Effects that are under way, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from podhost.aiokit.tasks import Tasks

_UNEXPECTED_HOLD_S = 10.0
"""An effect that failed in a way nobody expected stays under its name so long: no pass starts it at once again."""


class InFlight:
    """Named effects that are under way."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._tasks = Tasks()
        self._named: dict[str, asyncio.Task[Any]] = {}
        self._on_end = on_end

    def __contains__(self, name: str) -> bool:
        return name in self._named

    def any(self, prefix: str) -> bool:
        """Whether an effect of that kind is under way."""
        return any(name.startswith(prefix) for name in self._named)

    def spawn(self, name: str, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start an effect; its end, good or bad, asks for another pass."""
        task = self._tasks.spawn(coro, name=name)
        self._named[name] = task
        task.add_done_callback(lambda done: self._on_done(name, done))
        return task

    def _on_done(self, name: str, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is None:
            self._forget(name, task)
        else:
            asyncio.get_running_loop().call_later(_UNEXPECTED_HOLD_S, self._forget, name, task)

    def _forget(self, name: str, task: asyncio.Task[Any]) -> None:
        if self._named.get(name) is task:
            del self._named[name]
            self._on_end()

    async def cancel(self, *prefixes: str) -> None:
        """Cancel the effects of these kinds and wait until they have ended."""
        chosen = [task for name, task in self._named.items() if name.startswith(prefixes)]
        for task in chosen:
            task.cancel()
        if chosen:
            await asyncio.wait(chosen)

    async def wait(self, name: str) -> None:
        """Until an effect has ended; at once when it is not under way."""
        task = self._named.get(name)
        if task is not None:
            await asyncio.wait([task])

    async def cancel_all(self) -> None:
        """Cancel everything and wait."""
        await self._tasks.cancel_all()
