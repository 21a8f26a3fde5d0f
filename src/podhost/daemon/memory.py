"""The daemon's memory: what lives for ever is told from what does not, and after a burst of deletions it is given back.

A pod's life leaves cycles of objects, which wait for the collector, free memory, which waits in the allocator or in
threads that have nothing to do, and pages in SQLite's cache.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from podhost.aiokit.tasks import Tasks
from podhost.linux import malloc
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

_ARENAS = 2
_THRESHOLDS = (10_000, 20, 20)
"""Objects live long here; the default (700, 10, 10) spends a tenth of a pod's start on collecting nothing."""
_QUIET_S = 3.0
"""No pod was deleted for so long."""


def set_limits() -> None:
    """At the very start, before there are threads."""
    malloc.limit_arenas(_ARENAS)
    gc.set_threshold(*_THRESHOLDS)


def freeze_modules() -> None:
    """What was imported is never looked at again by the collector.  Once all is imported."""
    gc.collect()
    gc.freeze()


class MemoryTidy:
    """Gives memory back after the start, and when a burst of deletions is over.  An idle daemon has no timer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None
        self._threads: ThreadPoolExecutor | None = None

    def start(self, stack: AsyncExitStack) -> None:
        """Until the stack is closed."""
        stack.callback(self._store.subscribe("pods", self._on_pod))
        stack.push_async_callback(self._stop)
        self._tidy_soon()

    def _on_pod(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._tidy_soon()

    def _tidy_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_QUIET_S, self._tidy)

    def _tidy(self) -> None:
        self._timer = None
        self._end_threads()
        gc.collect()
        self._store.free_memory()
        self._tasks.spawn(asyncio.to_thread(malloc.trim), name="give memory back")

    def _end_threads(self) -> None:
        """Those of ``to_thread`` end with what they are doing; the next call begins with new ones.

        Each keeps its stack and up to half a megabyte of freed memory for itself, and a pool never shrinks.  The
        pool that asyncio made has no other owner, and ends its threads when it is forgotten.
        """
        old, self._threads = self._threads, ThreadPoolExecutor(thread_name_prefix="asyncio")
        asyncio.get_running_loop().set_default_executor(self._threads)
        if old is not None:
            old.shutdown(wait=False)

    async def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.cancel_all()
