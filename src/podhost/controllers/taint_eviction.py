"""Deletes pods from the node when it has a taint of effect ``NoExecute`` that they do not tolerate (any more).

After kubernetes 1.37 pkg/controller/tainteviction.  A pod whose tolerations have ``tolerationSeconds`` stays that
long; when the taint goes before, nothing happens.
"""

from __future__ import annotations

import asyncio
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.node_fit import compute_toleration_s
from podhost.api.objects import is_terminal
from podhost.api.time import format_time
from podhost.controllers.deletion import request_deletion
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import mutate_managed, with_disruption_target
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

PodKey = tuple[str, str]


class TaintEvictionController:
    """``recorder`` is of component ``taint-eviction-controller``."""

    def __init__(self, store: Store, clock: Clock, node_name: str, recorder: EventRecorder) -> None:
        self._store = store
        self._clock = clock
        self._node = ObjectKey("nodes", "", node_name)
        self._recorder = recorder
        self._loop: ReconcileLoop[PodKey] = ReconcileLoop(store, "taint-eviction", self.reconcile)
        self._timers: dict[PodKey, tuple[float, asyncio.TimerHandle]] = {}
        """When a pod's time is up, in the loop's seconds."""

    async def start(self) -> None:
        self._loop.watch("pods", self._on_pod)
        self._loop.watch("nodes", self._on_node)
        self._loop.start()

    async def stop(self) -> None:
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await self._loop.stop()

    def reconcile(self, key: PodKey) -> None:
        """Delete the pod, have it looked at when its time is up, or leave it alone."""
        pod, node = self._store.find(ObjectKey("pods", *key)), self._store.find(self._node)
        spec = (pod or {}).get("spec") or {}
        if pod is None or node is None or spec.get("nodeName") != self._node.name or _is_over(pod):
            self._forget(key)
            return
        seconds = compute_toleration_s(spec, node.get("spec") or {})
        if seconds is None:
            if self._forget(key):
                self._tell(pod, f"Cancelling deletion of Pod {key[0]}/{key[1]}")
            return
        due = self._find_due(key, seconds)
        if due > asyncio.get_running_loop().time():
            return
        self._forget(key)
        self._evict(key, pod)

    def _find_due(self, key: PodKey, seconds: float) -> float:
        """A time once set stays, whatever else happens to the pod."""
        loop = asyncio.get_running_loop()
        if key in self._timers:
            return self._timers[key][0]
        due = loop.time() + seconds
        if seconds > 0:
            self._timers[key] = (due, loop.call_at(due, self._loop.mark, key))
        return due

    def _evict(self, key: PodKey, pod: dict[str, Any]) -> None:
        self._tell(pod, f"Marking for deletion Pod {key[0]}/{key[1]}")
        place, now = ObjectKey("pods", *key), format_time(self._clock.now_ns())

        def note(stored: dict[str, Any]) -> dict[str, Any]:
            message = "Taint manager: deleting due to NoExecute taint"
            return with_disruption_target(stored, "DeletionByTaintManager", message, now)

        mutate_managed(self._store, self._clock, place, note)
        request_deletion(self._store, self._clock, place)

    def _tell(self, pod: dict[str, Any], message: str) -> None:
        self._recorder.event(pod, "Normal", "TaintManagerEviction", message)

    def _forget(self, key: PodKey) -> bool:
        """Whether its time was running."""
        found = self._timers.pop(key, None)
        if found is not None:
            found[1].cancel()
        return found is not None

    def _on_pod(self, event: WatchEvent) -> None:
        self._loop.mark((event.object["metadata"]["namespace"], event.object["metadata"]["name"]))

    def _on_node(self, event: WatchEvent) -> None:
        before = (event.previous or {}).get("spec") or {}
        if event.object["metadata"]["name"] != self._node.name:
            return
        if event.previous is not None and before.get("taints") == (event.object.get("spec") or {}).get("taints"):
            return  # The kubelet's status, most likely.
        for pod in self._store.list("pods")[0]:
            self._loop.mark((pod["metadata"]["namespace"], pod["metadata"]["name"]))


def _is_over(pod: dict[str, Any]) -> bool:
    return is_terminal(pod) or "deletionTimestamp" in pod["metadata"]
