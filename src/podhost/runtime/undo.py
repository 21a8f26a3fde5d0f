"""Undo beside do: each step registers its undo once it has succeeded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from podhost.aiokit.completion import run_to_end

_log = logging.getLogger(__name__)


class UndoStack:
    """Undoes in reverse order; an undo that fails is logged, and what it leaves is swept at the next start."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._steps: list[Callable[[], Awaitable[object]]] = []

    def push(self, undo: Callable[[], Awaitable[object]]) -> None:
        self._steps.append(undo)

    async def unwind(self) -> None:
        while self._steps:
            undo = self._steps.pop()
            try:
                await run_to_end(undo())
            except asyncio.CancelledError:
                continue  # whoever unwinds raises its own reason afterwards
            except Exception as error:
                _log.error("%s: undoing a step failed: %s", self._what, error, exc_info=error)
