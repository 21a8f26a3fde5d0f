"""The PriorityClasses that every cluster has, also after a user has deleted one."""

from __future__ import annotations

from podhost.aiokit.clock import Clock
from podhost.api.priority_classes import PRIORITY_CLASS, SYSTEM_CLASSES, build_system_classes
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import API_SERVER, ensure_created
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent


class PriorityClassController:
    """Changes of a user stay: all that matters of them cannot be changed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._classes = {each["metadata"]["name"]: each for each in build_system_classes()}
        self._loop: ReconcileLoop[str] = ReconcileLoop(store, "priority classes", self.reconcile)

    async def start(self) -> None:
        """They exist when this returns."""
        for name in self._classes:
            self.reconcile(name)
        self._loop.watch(PRIORITY_CLASS.resource_key, self._on_event)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, name: str) -> None:
        key = ObjectKey(PRIORITY_CLASS.resource_key, "", name)
        ensure_created(self._store, self._clock, key, self._classes[name], API_SERVER)

    def _on_event(self, event: WatchEvent) -> None:
        name = event.object["metadata"]["name"]
        if event.type == "DELETED" and name in SYSTEM_CLASSES:
            self._loop.mark(name)
