"""What the cgroups above pods are given, by class (pkg/kubelet/cm qos_container_manager).

=============  ==========================================================================
Guaranteed     as many CPUs as the node has: the weight of all pods against the rest
Burstable      what its pods request together, as long as they are here
BestEffort     the least that there is
=============  ==========================================================================

Memory is not shared out: a kubelet does so only where ``qosReserved`` or ``memoryReservationPolicy`` is set.
"""

from __future__ import annotations

import logging

from podhost.aiokit.tasks import Tasks
from podhost.api import models
from podhost.api.qos import QosClass
from podhost.cri.ids import PodUID
from podhost.cri.runtime import LinuxResources, RuntimeService
from podhost.errors import PodhostError
from podhost.kubelet.pod_resources import MIN_SHARES, compute_cpu_shares, compute_pod_request
from podhost.kubelet.qos import compute_qos_class

_log = logging.getLogger(__name__)


class QosCgroups:
    """Writes when a value has changed; many pods that come at once cost few writes."""

    def __init__(self, runtime: RuntimeService) -> None:
        self._runtime = runtime
        self._burstable_millis: dict[PodUID, int] = {}
        self._cpu_millis = 0
        self._written: dict[QosClass, int] = {}
        self._is_writing = False
        self._tasks = Tasks()

    def start(self, cpu_millis: int) -> None:
        """The pods that are here have been told of; from now on values are written."""
        self._cpu_millis = cpu_millis
        self._written.clear()
        self._request_write()

    async def stop(self) -> None:
        """Idempotent."""
        self._cpu_millis = 0
        await self._tasks.cancel_all()

    def on_allocated(self, pod: models.Pod) -> None:
        """The pod has come, or requests something else than before."""
        if compute_qos_class(pod) == "Burstable":
            self._burstable_millis[PodUID(pod.metadata.uid)] = compute_pod_request(pod, "cpu")
            self._request_write()

    def on_gone(self, uid: PodUID) -> None:
        """The pod runs no more.  Idempotent."""
        if self._burstable_millis.pop(uid, 0):
            self._request_write()

    def compute_shares(self) -> dict[QosClass, int]:
        """What each class should have now."""
        return {
            "Guaranteed": compute_cpu_shares(self._cpu_millis),
            "Burstable": compute_cpu_shares(sum(self._burstable_millis.values())),
            "BestEffort": MIN_SHARES,
        }

    def _request_write(self) -> None:
        if self._cpu_millis and not self._is_writing and self._written != self.compute_shares():
            self._is_writing = True
            self._tasks.spawn(self._write(), name="qos-cgroups")

    async def _write(self) -> None:
        """Until nothing has changed meanwhile."""
        try:
            while self._written != (wanted := self.compute_shares()):
                for qos_class, shares in wanted.items():
                    if self._written.get(qos_class) != shares:
                        await self._write_class(qos_class, shares)
        finally:
            self._is_writing = False

    async def _write_class(self, qos_class: QosClass, shares: int) -> None:
        """A write that fails is not repeated: pods run, only with other shares of a busy machine."""
        self._written[qos_class] = shares
        try:
            await self._runtime.update_qos_resources(qos_class, LinuxResources(cpu_shares=shares))
        except PodhostError as error:
            _log.warning("cannot share out the processors among classes of pods: %s", error)
