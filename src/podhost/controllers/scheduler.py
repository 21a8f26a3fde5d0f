"""Binds pods to the one node, as soon as they fit."""

from __future__ import annotations

from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.time import format_time
from podhost.controllers import claim_checks, scheduling
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import SCHEDULER, mutate_managed
from podhost.controllers.volume_binding import SELECTED_NODE
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

DEFAULT_SCHEDULER = "default-scheduler"

PodKey = tuple[str, str]


class Scheduler:
    """Looks at each pod without a node when it appears, and at all that wait when room may have become free.

    ``recorder`` is of component ``default-scheduler``.
    """

    def __init__(self, store: Store, clock: Clock, node_name: str, recorder: EventRecorder) -> None:
        self._store = store
        self._clock = clock
        self._node_name = node_name
        self._recorder = recorder
        self._loop: ReconcileLoop[PodKey] = ReconcileLoop(store, "scheduler", self.reconcile)
        self._waiting: set[PodKey] = set()

    async def start(self) -> None:
        self._loop.watch("pods", self._on_pod)
        self._loop.watch("nodes", self._on_node)
        self._loop.watch("persistentvolumeclaims", self._on_node)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, key: PodKey) -> None:
        """Bind the pod, or say why it waits; writes nothing when that is said already."""
        pod = self._store.find(ObjectKey("pods", *key))
        if pod is None or not _wants_node(pod):
            self._waiting.discard(key)
            return
        self._waiting.add(key)
        if pod["spec"].get("schedulingGates"):
            self._set_condition(key, _gated())
            return
        node = self._store.find(ObjectKey("nodes", "", self._node_name))
        if node is None:
            return
        obstacle = claim_checks.find_obstacle(pod, self._claims_of(key[0]), self._store.list("pods", key[0])[0])
        if isinstance(obstacle, claim_checks.Unbound):
            self._select_node(key[0], obstacle.names)
            return
        if obstacle is not None:
            self._refuse(key, pod, f"0/1 nodes are available: {obstacle}.")
            return
        misfits = scheduling.compute_misfits(pod, node, self._pods_on_node())
        if misfits:
            self._refuse(key, pod, scheduling.format_unschedulable(pod, misfits))
        else:
            self._bind(key)

    def _claims_of(self, namespace: str) -> dict[str, claim_checks.Claim]:
        classes = {each["metadata"]["name"]: each for each in self._store.list("storageclasses.storage.k8s.io")[0]}
        claims = self._store.list("persistentvolumeclaims", namespace)[0]
        return {
            claim["metadata"]["name"]: claim_checks.Claim(
                claim, classes.get(claim["spec"].get("storageClassName") or "")
            )
            for claim in claims
        }

    def _select_node(self, namespace: str, names: tuple[str, ...]) -> None:
        """Claims that wait for their first consumer have one now; the pod is bound when they are."""

        def select(claim: dict[str, Any]) -> dict[str, Any] | None:
            annotations = claim["metadata"].setdefault("annotations", {})
            if annotations.get(SELECTED_NODE) == self._node_name:
                return None
            annotations[SELECTED_NODE] = self._node_name
            return claim

        for name in names:
            mutate_managed(
                self._store, self._clock, ObjectKey("persistentvolumeclaims", namespace, name), select, SCHEDULER
            )

    def _pods_on_node(self) -> list[dict[str, Any]]:
        pods = self._store.list("pods")[0]
        return [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") == self._node_name]

    def _bind(self, key: PodKey) -> None:
        now = format_time(self._clock.now_ns())

        def bind(pod: dict[str, Any]) -> dict[str, Any]:
            pod["spec"]["nodeName"] = self._node_name
            _put_condition(pod, {"type": "PodScheduled", "status": "True"}, now)
            return pod

        # Whoever binds manages nothing by it, on a cluster either: the binding is a request of its own.
        bound = self._store.mutate(ObjectKey("pods", *key), bind)
        self._waiting.discard(key)
        message = f"Successfully assigned {key[0]}/{key[1]} to {self._node_name}"
        self._recorder.event(bound, "Normal", "Scheduled", message)

    def _refuse(self, key: PodKey, pod: dict[str, Any], message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        if self._set_condition(key, condition):
            self._recorder.event(pod, "Warning", "FailedScheduling", message)

    def _set_condition(self, key: PodKey, condition: dict[str, Any]) -> bool:
        now = format_time(self._clock.now_ns())
        place = ObjectKey("pods", *key)
        before = self._store.get(place)

        def change(pod: dict[str, Any]) -> dict[str, Any] | None:
            return pod if _put_condition(pod, condition, now) else None

        return mutate_managed(self._store, self._clock, place, change, SCHEDULER) is not before

    def _on_pod(self, event: WatchEvent) -> None:
        pod, previous = event.object, event.previous
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if event.type != "DELETED" and _wants_node(pod):
            self._loop.mark(key)
            return
        self._waiting.discard(key)
        ended = event.type == "DELETED" or (
            scheduling.is_terminal(pod) and previous is not None and not scheduling.is_terminal(previous)
        )
        if ended:
            self._mark_waiting()

    def _on_node(self, event: WatchEvent) -> None:
        """Node and claims alike: whoever waits may fit now."""
        del event
        self._mark_waiting()

    def _mark_waiting(self) -> None:
        for key in sorted(self._waiting):
            self._loop.mark(key)


def _wants_node(pod: dict[str, Any]) -> bool:
    spec = pod.get("spec") or {}
    ours = (spec.get("schedulerName") or DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER
    return ours and not spec.get("nodeName") and "deletionTimestamp" not in pod["metadata"]


def _gated() -> dict[str, Any]:
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }


def _put_condition(pod: dict[str, Any], condition: dict[str, Any], now: str) -> bool:
    """Set a condition; whether anything changed.  Its time moves with its status only."""
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    condition = {**condition, "observedGeneration": pod["metadata"].get("generation", 1)}
    for at, old in enumerate(conditions):
        if old.get("type") != condition["type"]:
            continue
        since = old.get("lastTransitionTime") if old.get("status") == condition["status"] else now
        new = {"lastProbeTime": None, **condition, "lastTransitionTime": since or now}
        conditions[at] = new
        return bool(new != old)
    conditions.append({"lastProbeTime": None, **condition, "lastTransitionTime": now})
    return True
