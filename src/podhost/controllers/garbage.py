"""Garbage collection by ownerReferences: what has owners goes when the last of them has gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.controllers.deletion import request_deletion
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import mutate_managed
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

ResolveKind = Callable[[str, str], tuple[str, bool] | None]
"""(apiVersion, kind) → (store resource, namespaced); None for a kind not served here."""

_FOREGROUND = "foregroundDeletion"
_ORPHAN = "orphan"


class GarbageCollector:
    """Follows all ``resources``.  An owner of an unknown kind counts as there: it cannot be looked up.

    An owner deleted with ``foreground`` waits, by its finalizer, for the dependents that block it; one deleted
    with ``orphan`` until none refers to it any more.
    """

    def __init__(self, store: Store, clock: Clock, resources: Iterable[str], resolve: ResolveKind) -> None:
        self._store = store
        self._clock = clock
        self._resources = sorted(set(resources) - {"events"})
        self._resolve = resolve
        self._dependents: dict[str, set[ObjectKey]] = {}
        self._loop: ReconcileLoop[ObjectKey] = ReconcileLoop(store, "garbage collector", self.reconcile)

    async def start(self) -> None:
        for resource in self._resources:
            self._loop.watch(resource, self._follow(resource))
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, key: ObjectKey) -> None:
        """Delete the object if all its owners are gone; if it is a waiting owner, see to its dependents."""
        obj = self._store.find(key)
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or []
        if "deletionTimestamp" in obj["metadata"]:
            if _FOREGROUND in finalizers:
                self._delete_dependents_first(key, obj)
            elif _ORPHAN in finalizers:
                self._orphan_dependents(key, obj)
            return
        owners = obj["metadata"].get("ownerReferences") or []
        if owners and not any(self._is_there(owner, key.namespace) for owner in owners):
            request_deletion(self._store, self._clock, key)

    def _is_there(self, reference: dict[str, Any], namespace: str) -> bool:
        resolved = self._resolve(reference.get("apiVersion", ""), reference.get("kind", ""))
        if resolved is None:
            return True
        resource, namespaced = resolved
        owner = self._store.find(ObjectKey(resource, namespace if namespaced else "", reference.get("name", "")))
        return owner is not None and owner["metadata"].get("uid") == reference.get("uid")

    def _delete_dependents_first(self, key: ObjectKey, owner: dict[str, Any]) -> None:
        uid = owner["metadata"]["uid"]
        blocked = False
        for dependent in sorted(self._dependents.get(uid, ())):
            obj = self._store.find(dependent)
            if obj is None:
                continue
            request_deletion(self._store, self._clock, dependent)
            blocked = blocked or (self._store.find(dependent) is not None and _blocks(obj, uid))
        if not blocked:
            self._release(key, _FOREGROUND)

    def _orphan_dependents(self, key: ObjectKey, owner: dict[str, Any]) -> None:
        uid = owner["metadata"]["uid"]
        for dependent in sorted(self._dependents.get(uid, ())):
            if self._store.find(dependent) is not None:
                mutate_managed(self._store, self._clock, dependent, lambda obj: _without_owner(obj, uid))
        self._release(key, _ORPHAN)

    def _release(self, key: ObjectKey, finalizer: str) -> None:
        released = mutate_managed(self._store, self._clock, key, lambda obj: _without_finalizer(obj, finalizer))
        if not released["metadata"].get("finalizers"):
            request_deletion(self._store, self._clock, key)

    def _follow(self, resource: str) -> Callable[[WatchEvent], None]:
        def on_event(event: WatchEvent) -> None:
            metadata = event.object["metadata"]
            key = ObjectKey(resource, metadata.get("namespace", ""), metadata["name"])
            self._index(key, event)
            if event.type != "DELETED":
                if metadata.get("ownerReferences") or "deletionTimestamp" in metadata:
                    self._loop.mark(key)
                return
            for dependent in self._dependents.get(metadata.get("uid", ""), ()):
                self._loop.mark(dependent)
            for reference in metadata.get("ownerReferences") or []:
                # The owner may wait for just this one.
                if resolved := self._resolve(reference.get("apiVersion", ""), reference.get("kind", "")):
                    place = key.namespace if resolved[1] else ""
                    self._loop.mark(ObjectKey(resolved[0], place, reference.get("name", "")))

        return on_event

    def _index(self, key: ObjectKey, event: WatchEvent) -> None:
        for uid in _owner_uids(event.previous):
            dependents = self._dependents.get(uid, set())
            dependents.discard(key)
            if not dependents:
                self._dependents.pop(uid, None)
        if event.type != "DELETED":
            for uid in _owner_uids(event.object):
                self._dependents.setdefault(uid, set()).add(key)


def _owner_uids(obj: dict[str, Any] | None) -> list[str]:
    references = ((obj or {}).get("metadata") or {}).get("ownerReferences") or []
    return [reference.get("uid", "") for reference in references]


def _blocks(obj: dict[str, Any], owner_uid: str) -> bool:
    references = obj["metadata"].get("ownerReferences") or []
    return any(r.get("uid") == owner_uid and r.get("blockOwnerDeletion") for r in references)


def _without_owner(obj: dict[str, Any], uid: str) -> dict[str, Any]:
    metadata = obj["metadata"]
    metadata["ownerReferences"] = [r for r in metadata.get("ownerReferences") or [] if r.get("uid") != uid]
    if not metadata["ownerReferences"]:
        del metadata["ownerReferences"]
    return obj


def _without_finalizer(obj: dict[str, Any], finalizer: str) -> dict[str, Any]:
    metadata = obj["metadata"]
    metadata["finalizers"] = [name for name in metadata.get("finalizers") or [] if name != finalizer]
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    return obj
