"""The edge that all controllers share: store events mark keys, workers reconcile them, failures come again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from podhost.aiokit.tasks import Tasks
from podhost.aiokit.work_queue import WorkQueue, run_workers
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

K = TypeVar("K", bound=Hashable)

_MAX_BACKOFF_S = 60.0


class ReconcileLoop(Generic[K]):
    """Calls ``reconcile(key)`` for every key marked, one at a time, and again with back-off when it raises.

    ``reconcile`` reads the whole present state of its key; events carry no meaning beyond "look again".
    """

    def __init__(self, store: Store, name: str, reconcile: Callable[[K], None]) -> None:
        self._store = store
        self._name = name
        self._reconcile = reconcile
        self._queue: WorkQueue[K] = WorkQueue(max_backoff_s=_MAX_BACKOFF_S)
        self._tasks = Tasks()
        self._undo: list[Callable[[], None]] = []

    def mark(self, key: K) -> None:
        """Have the key looked at soon."""
        self._queue.add(key)

    def watch(self, resource: str, on_event: Callable[[WatchEvent], None]) -> None:
        """Call ``on_event`` at each change of a resource, and now, as ADDED, for each object there is."""
        self._undo.append(self._store.subscribe(resource, on_event))
        for obj in self._store.list(resource)[0]:
            on_event(WatchEvent("ADDED", obj, None, int(obj["metadata"]["resourceVersion"])))

    def start(self) -> None:
        self._tasks.spawn(run_workers(self._queue, self._handle, name=self._name), name=self._name)

    async def stop(self) -> None:
        for undo in self._undo:
            undo()
        self._undo = []
        self._queue.shut_down()
        await self._tasks.cancel_all()

    async def _handle(self, key: K) -> None:
        self._reconcile(key)
        # Other work of the daemon gets its turn between two keys, however many are marked.
        await asyncio.sleep(0)
