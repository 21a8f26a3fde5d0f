"""Deletes pods that are bound to a node that does not exist: no kubelet will ever start them, or see them end.

After kubernetes 1.37 pkg/controller/podgc: the node gets 40 seconds to come (back), then the pod fails and goes
without a grace period.
"""

from __future__ import annotations

import asyncio
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.deletion import DeleteOptions
from podhost.api.objects import is_terminal
from podhost.api.time import format_time
from podhost.controllers.deletion import request_deletion
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import mutate_managed, with_disruption_target
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

QUARANTINE_S = 40.0

PodKey = tuple[str, str]


class OrphanedPodController:
    """One timer for each pod without a node, and nothing else."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._loop: ReconcileLoop[PodKey] = ReconcileLoop(store, "orphaned-pods", self.reconcile)
        self._timers: dict[PodKey, tuple[str, float, asyncio.TimerHandle]] = {}
        """Uid of the pod, and when its time is up, in the loop's seconds."""

    async def start(self) -> None:
        self._loop.watch("pods", self._on_pod)
        self._loop.watch("nodes", self._on_node)
        self._loop.start()

    async def stop(self) -> None:
        for _, _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await self._loop.stop()

    def reconcile(self, key: PodKey) -> None:
        """Delete the pod, have it looked at when the node's time is up, or leave it alone."""
        pod = self._store.find(ObjectKey("pods", *key))
        if pod is None or not self._is_orphan(pod):
            self._forget(key)
            return
        uid, loop = pod["metadata"]["uid"], asyncio.get_running_loop()
        if key in self._timers and self._timers[key][0] != uid:
            self._forget(key)
        if key not in self._timers:
            due_s = loop.time() + QUARANTINE_S
            self._timers[key] = (uid, due_s, loop.call_at(due_s, self._loop.mark, key))
        elif self._timers[key][1] <= loop.time():
            self._forget(key)
            self._end(ObjectKey("pods", *key))

    def _is_orphan(self, pod: dict[str, Any]) -> bool:
        node_name = (pod.get("spec") or {}).get("nodeName") or ""
        return node_name != "" and self._store.find(ObjectKey("nodes", "", node_name)) is None

    def _end(self, place: ObjectKey) -> None:
        now = format_time(self._clock.now_ns())

        def fail(stored: dict[str, Any]) -> dict[str, Any]:
            if not is_terminal(stored):
                stored.setdefault("status", {})["phase"] = "Failed"
            return with_disruption_target(stored, "DeletionByPodGC", "PodGC: node no longer exists", now)

        mutate_managed(self._store, self._clock, place, fail)
        request_deletion(self._store, self._clock, place, DeleteOptions(grace_period_s=0))

    def _forget(self, key: PodKey) -> None:
        if key in self._timers:
            self._timers.pop(key)[2].cancel()

    def _on_pod(self, event: WatchEvent) -> None:
        metadata, spec = event.object["metadata"], event.object.get("spec") or {}
        key = (metadata["namespace"], metadata["name"])
        if key in self._timers or (spec.get("nodeName") and _is_newly_bound(event)):
            self._loop.mark(key)

    def _on_node(self, event: WatchEvent) -> None:
        if event.type == "MODIFIED":
            return
        for pod in self._store.list("pods")[0]:
            if (pod.get("spec") or {}).get("nodeName") == event.object["metadata"]["name"]:
                self._loop.mark((pod["metadata"]["namespace"], pod["metadata"]["name"]))


def _is_newly_bound(event: WatchEvent) -> bool:
    """Most changes of a pod are of its status, and need no look."""
    return event.type == "ADDED" or not ((event.previous or {}).get("spec") or {}).get("nodeName")
