"""One answer for all who ask the same at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from podhost.aiokit.tasks import Tasks

T = TypeVar("T")


class SharedRead(Generic[T]):
    """Reads begin one after another; nobody gets an answer that is older than his question.

    ::

        idle ──asked──> reading ──asked, by however many──> reading, one more is due ──done──> reading
    """

    def __init__(self, tasks: Tasks, read: Callable[[], Coroutine[Any, Any, T]], *, name: str) -> None:
        self._tasks = tasks
        self._read = read
        self._name = name
        self._running: asyncio.Task[T] | None = None
        self._due: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Raises what the read raises."""
        if self._due is None:
            self._due = self._tasks.spawn(self._read_after(self._running), name=self._name)
        return await asyncio.shield(self._due)

    async def _read_after(self, running: asyncio.Task[T] | None) -> T:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._due = self._due, None
        return await self._read()
