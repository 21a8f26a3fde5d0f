"""Looks at each pod that comes to the node: taken, turned away, or taken in the place of others.

A pod that was taken up is not judged again, not by the next daemon either: a node that has changed ends no pod.
"""

from __future__ import annotations

from collections.abc import Mapping

from podhost.api import models
from podhost.api.node_load import NodeLoad
from podhost.api.pod_requests import sum_requests
from podhost.api.qos import compute_qos_class
from podhost.cri.ids import PodUID
from podhost.kubelet.admission_rules import Rejection, find_rejections
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.node_pressure import is_critical
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.preemption import PodWeight, settle_for_critical
from podhost.store.keys import ObjectKey


class PodAdmission:
    """Keeps the sum of what the node's pods take.

    Args:
        workers: The kubelet's pods.
    """

    def __init__(self, context: NodeContext, workers: Mapping[PodUID, PodWorker]) -> None:
        self._context = context
        self._workers = workers
        self._load = NodeLoad()
        self._counted: dict[PodUID, models.Pod] = {}

    def on_admitted(self, worker: PodWorker) -> None:
        """A pod has come; nothing of it has been started yet."""
        if worker.is_new and worker.takes_room:
            self._judge(worker)
        if worker.takes_room:
            self._count(worker)

    def on_changed(self, worker: PodWorker) -> None:
        """The object of a pod has changed; it may want more or less than it did."""
        before = self._counted.get(worker.uid)
        if before is not None and before is not worker.pod:
            self._count(worker)

    def on_gone(self, uid: PodUID) -> None:
        """Nothing of the pod is left."""
        if self._counted.pop(uid, None) is not None:
            self._load.drop(uid)

    def _count(self, worker: PodWorker) -> None:
        self._counted[worker.uid] = worker.pod
        self._load.put(worker.uid, worker.document)

    def _judge(self, worker: PodWorker) -> None:
        rejections = self._find_rejections(worker)
        if rejections:
            # Some that are counted may have ended since: that is looked up only when it matters.
            for uid in [uid for uid in self._counted if not self._takes_room(uid)]:
                self.on_gone(uid)
            rejections = self._find_rejections(worker)
        if rejections and is_critical(worker.document):
            others = [_weigh(self._workers[uid]) for uid in self._counted]
            rejections, chosen = settle_for_critical(_weigh(worker), rejections, others)
            self._preempt([self._workers[PodUID(uid)] for uid in chosen], worker)
        if rejections:
            worker.reject(rejections[0].message, rejections[0].reason)

    def _find_rejections(self, worker: PodWorker) -> list[Rejection]:
        node = self._context.store.find(ObjectKey("nodes", "", self._context.settings.node_name))
        return find_rejections(worker.document, node, self._load)

    def _takes_room(self, uid: PodUID) -> bool:
        worker = self._workers.get(uid)
        return worker is not None and worker.takes_room

    @staticmethod
    def _preempt(victims: list[PodWorker], worker: PodWorker) -> None:
        for victim in victims:
            victim.preempt()
        if victims:
            worker.wait_for_room(victims)


def _weigh(worker: PodWorker) -> PodWeight:
    spec = worker.document.get("spec") or {}
    return PodWeight(
        uid=worker.uid,
        is_critical=is_critical(worker.document),
        priority=int(spec.get("priority") or 0),
        qos=compute_qos_class(spec),
        requests=sum_requests(spec),
    )
