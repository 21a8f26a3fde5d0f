"""Namespaces: those that are always there, and the emptying of those being deleted.

::

    Active ──deletionTimestamp──> Terminating ──all objects gone──> finalised ──no finalizers──> deleted
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.controllers.deletion import request_deletion
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import API_SERVER, delete_if_there, ensure_created, mutate_managed
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

NAMESPACES = "namespaces"
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"


def build_namespace(name: str) -> dict[str, Any]:
    """A namespace as the API server completes it."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {NAME_LABEL: name}},
        "spec": {"finalizers": [FINALIZER]},
        "status": {"phase": "Active"},
    }


class NamespaceController:
    """``resources`` are the store names of all namespaced kinds."""

    def __init__(self, store: Store, clock: Clock, resources: Iterable[str]) -> None:
        self._store = store
        self._clock = clock
        self._resources = sorted(set(resources))
        self._loop: ReconcileLoop[str] = ReconcileLoop(store, "namespaces", self.reconcile)
        self._terminating: set[str] = set()

    async def start(self) -> None:
        """The system's namespaces exist when this returns."""
        for name in SYSTEM_NAMESPACES:
            ensure_created(self._store, self._clock, ObjectKey(NAMESPACES, "", name), build_namespace(name), API_SERVER)
        self._loop.watch(NAMESPACES, self._on_namespace)
        for resource in self._resources:
            self._loop.watch(resource, self._on_content)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, name: str) -> None:
        """Empty a namespace that is being deleted, and delete it once it is empty."""
        key = ObjectKey(NAMESPACES, "", name)
        namespace = self._store.find(key)
        if namespace is None:
            self._terminating.discard(name)
            if name in SYSTEM_NAMESPACES:
                ensure_created(self._store, self._clock, key, build_namespace(name), API_SERVER)
            return
        if "deletionTimestamp" not in namespace["metadata"]:
            return
        self._terminating.add(name)
        if (namespace.get("status") or {}).get("phase") != "Terminating":
            mutate_managed(self._store, self._clock, key, _terminate)
        if self._empty(name):
            self._finalise(key)

    def _empty(self, name: str) -> bool:
        """Have everything deleted; whether nothing is left.  Events last: they tell of the others' end."""
        for batch in (self._contents(), ("events",)):
            for resource in batch:
                for obj in self._store.list(resource, name)[0]:
                    request_deletion(self._store, self._clock, ObjectKey(resource, name, obj["metadata"]["name"]))
            if any(self._store.list(resource, name)[0] for resource in batch):
                return False
        return True

    def _contents(self) -> tuple[str, ...]:
        return tuple(resource for resource in self._resources if resource != "events")

    def _finalise(self, key: ObjectKey) -> None:
        namespace = mutate_managed(self._store, self._clock, key, _drop_finalizer)
        if not namespace["spec"].get("finalizers") and not namespace["metadata"].get("finalizers"):
            delete_if_there(self._store, key, uid=namespace["metadata"].get("uid"))
            self._terminating.discard(key.name)

    def _on_namespace(self, event: WatchEvent) -> None:
        self._loop.mark(event.object["metadata"]["name"])

    def _on_content(self, event: WatchEvent) -> None:
        namespace = event.object["metadata"].get("namespace", "")
        if namespace in self._terminating:
            self._loop.mark(namespace)


def _terminate(namespace: dict[str, Any]) -> dict[str, Any]:
    namespace["status"] = {**(namespace.get("status") or {}), "phase": "Terminating"}
    return namespace


def _drop_finalizer(namespace: dict[str, Any]) -> dict[str, Any]:
    spec = namespace.setdefault("spec", {})
    spec["finalizers"] = [name for name in spec.get("finalizers") or [] if name != FINALIZER]
    if not spec["finalizers"]:
        del spec["finalizers"]
    return namespace
