"""Binds pods to the one node, as soon as they fit."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.node_load import NodeLoad
from podhost.api.objects import is_terminal
from podhost.api.time import format_time
from podhost.controllers import claim_checks, scheduling
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import SCHEDULER, mutate_managed, update_managed
from podhost.controllers.volume_binding import SELECTED_NODE, claims_of_pod
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

DEFAULT_SCHEDULER = "default-scheduler"

Obj = dict[str, Any]
PodKey = tuple[str, str]
"""Namespace and name."""


class Scheduler:
    """Looks at each pod without a node when it appears, and at those that wait when they may fit.

    A pod with scheduling gates is nobody's affair until they are gone.
    ``recorder`` is of component ``default-scheduler``.
    """

    def __init__(self, store: Store, clock: Clock, node_name: str, recorder: EventRecorder) -> None:
        self._store = store
        self._clock = clock
        self._node_name = node_name
        self._recorder = recorder
        self._loop: ReconcileLoop[PodKey] = ReconcileLoop(store, "scheduler", self.reconcile)
        self._waiting: dict[str, set[PodKey]] = defaultdict(set)
        """By namespace, those that were refused."""
        self._load = NodeLoad()

    async def start(self) -> None:
        self._loop.watch("pods", self._on_pod)
        self._loop.watch("nodes", self._on_node)
        self._loop.watch("persistentvolumeclaims", self._on_claim)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, key: PodKey) -> None:
        """Bind the pod, or say why it waits; writes nothing when that is said already."""
        pod = self._store.find(ObjectKey("pods", *key))
        if pod is None or not _wants_node(pod):
            self._forget(key)
            return
        self._waiting[key[0]].add(key)
        node = self._store.find(ObjectKey("nodes", "", self._node_name))
        if node is None:
            return
        obstacle = self._find_obstacle(key[0], pod, node)
        if isinstance(obstacle, claim_checks.Unbound):
            self._select_node(key[0], obstacle.names)
            return
        if obstacle is not None:
            self._refuse(key, pod, f"0/1 nodes are available: {obstacle}.")
            return
        misfits = scheduling.compute_misfits(pod, node, self._load)
        if misfits:
            self._refuse(key, pod, scheduling.format_unschedulable(pod, misfits))
        else:
            self._bind(key, pod)

    def _find_obstacle(self, namespace: str, pod: Obj, node: Obj) -> str | claim_checks.Unbound | None:
        if not claims_of_pod(pod):
            return None
        others = self._store.list("pods", namespace)[0]
        return claim_checks.find_obstacle(pod, self._claims_of(namespace), others, node)

    def _claims_of(self, namespace: str) -> dict[str, claim_checks.Claim]:
        classes = {each["metadata"]["name"]: each for each in self._store.list("storageclasses.storage.k8s.io")[0]}
        volumes = {each["metadata"]["name"]: each for each in self._store.list("persistentvolumes")[0]}
        claims = self._store.list("persistentvolumeclaims", namespace)[0]
        return {
            claim["metadata"]["name"]: claim_checks.Claim(
                claim,
                classes.get(claim["spec"].get("storageClassName") or ""),
                volumes.get(claim["spec"].get("volumeName") or ""),
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

    def _bind(self, key: PodKey, pod: Obj) -> None:
        assigned = {**pod, "spec": {**pod["spec"], "nodeName": self._node_name}}
        condition = {"type": "PodScheduled", "status": "True"}
        changed = compute_with_condition(assigned, condition, format_time(self._clock.now_ns()))
        # Whoever binds manages nothing by it, on a cluster either: the binding is a request of its own.
        bound = self._store.update(ObjectKey("pods", *key), changed or assigned)
        self._forget(key)
        message = f"Successfully assigned {key[0]}/{key[1]} to {self._node_name}"
        self._recorder.event(bound, "Normal", "Scheduled", message)

    def _refuse(self, key: PodKey, pod: Obj, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        changed = compute_with_condition(pod, condition, format_time(self._clock.now_ns()))
        if changed is not None:
            update_managed(self._store, self._clock, ObjectKey("pods", *key), changed, SCHEDULER)
            self._recorder.event(pod, "Warning", "FailedScheduling", message)

    def _on_pod(self, event: WatchEvent) -> None:
        pod, previous = event.object, event.previous
        if event.type == "MODIFIED" and previous is not None and not _matters(previous, pod):
            return
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if event.type != "DELETED" and _wants_node(pod):
            self._loop.mark(key)
            return
        self._forget(key)
        on_node = (pod.get("spec") or {}).get("nodeName") == self._node_name
        if event.type != "DELETED" and on_node and not is_terminal(pod):
            self._load.put(key, pod)
        else:
            self._load.drop(key)
            for namespace in self._waiting:
                self._mark_waiting(namespace)

    def _on_node(self, event: WatchEvent) -> None:
        node, previous = event.object, event.previous
        if previous is None or _capacity(node) != _capacity(previous):
            for namespace in self._waiting:
                self._mark_waiting(namespace)

    def _on_claim(self, event: WatchEvent) -> None:
        self._mark_waiting(event.object["metadata"]["namespace"])

    def _mark_waiting(self, namespace: str) -> None:
        for key in sorted(self._waiting.get(namespace, ())):
            self._loop.mark(key)

    def _forget(self, key: PodKey) -> None:
        waiting = self._waiting.get(key[0])
        if waiting is not None:
            waiting.discard(key)
            if not waiting:
                del self._waiting[key[0]]


def _wants_node(pod: Obj) -> bool:
    """Ours to bind, and nothing keeps it from being bound but what it is refused for."""
    spec = pod.get("spec") or {}
    ours = (spec.get("schedulerName") or DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER
    free = not spec.get("nodeName") and not spec.get("schedulingGates")
    return ours and free and "deletionTimestamp" not in pod["metadata"]


def _matters(before: Obj, after: Obj) -> bool:
    """To the scheduler: most changes are those of a status."""
    return (
        before.get("spec") != after.get("spec")
        or is_terminal(before) != is_terminal(after)
        or ("deletionTimestamp" in before["metadata"]) != ("deletionTimestamp" in after["metadata"])
    )


def _capacity(node: Obj) -> tuple[Any, ...]:
    """What of a node decides who fits."""
    return node["metadata"].get("labels"), node.get("spec"), (node.get("status") or {}).get("allocatable")


def compute_with_condition(pod: Obj, condition: Obj, now: str) -> Obj | None:
    """The pod with a condition; ``None`` when it has it.  Its time moves with its status only."""
    status = pod.get("status") or {}
    conditions: list[Obj] = list(status.get("conditions") or [])
    at = next((at for at, old in enumerate(conditions) if old.get("type") == condition["type"]), len(conditions))
    old = conditions[at] if at < len(conditions) else {}
    since = (old.get("lastTransitionTime") if old.get("status") == condition["status"] else now) or now
    generation = pod["metadata"].get("generation", 1)
    new = {"lastProbeTime": None, **condition, "observedGeneration": generation, "lastTransitionTime": since}
    if new == old:
        return None
    conditions[at : at + 1] = [new]
    return {**pod, "status": {**status, "conditions": conditions}}
