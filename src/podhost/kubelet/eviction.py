"""Pods that use more local disk than they may are evicted (the kubelet's eviction manager): emptyDir volumes over
their ``sizeLimit``, containers and pods over their ``ephemeral-storage``.

There is nothing to be told of by the kernel, so they are measured now and then: by a timer that exists
only while a pod with such a limit does.  Volumes in memory cannot outgrow theirs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from podhost.aiokit.tasks import Tasks
from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.errors import PodhostError
from podhost.kubelet.ephemeral_storage import (
    choose_measured_volumes,
    find_exceeded,
    has_limit,
    list_limited_volumes,
)
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.pod_disk import measure_pod_disk
from podhost.kubelet.pod_worker import PodWorker

_log = logging.getLogger(__name__)


def has_disk_limit(pod: models.Pod) -> bool:
    """Whether there is anything to measure."""
    return has_limit(pod) or bool(list_limited_volumes(pod))


class VolumeLimits:
    """Measures the limited volumes of the pods of one kubelet, and has pods evicted."""

    def __init__(self, context: NodeContext, workers: Mapping[PodUID, PodWorker]) -> None:
        self._context = context
        self._workers = workers
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None

    def on_admitted(self, worker: PodWorker) -> None:
        """A pod has come."""
        if self._timer is None and has_disk_limit(worker.pod):
            self._arm()

    async def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.cancel_all()

    def _arm(self) -> None:
        delay_s = self._context.settings.housekeeping_interval_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_time)

    def _on_time(self) -> None:
        self._tasks.spawn(self._check(), name="volume-limits")

    async def _check(self) -> None:
        for worker in [w for w in self._workers.values() if w.may_be_evicted and has_disk_limit(w.pod)]:
            pod = worker.pod
            try:
                disk = await measure_pod_disk(
                    self._context, worker, containers=has_limit(pod), volumes=choose_measured_volumes(pod)
                )
            except (PodhostError, OSError) as error:
                _log.warning("cannot measure the volumes of pod %s: %s", worker.uid, error)
                continue
            if exceeded := find_exceeded(pod, disk):
                worker.evict(exceeded)
        self._timer = None
        # The next measurement begins when this one has ended, however long it took.
        if any(w.may_be_evicted and has_disk_limit(w.pod) for w in self._workers.values()):
            self._arm()
