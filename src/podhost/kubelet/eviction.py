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
from podhost.kubelet import ephemeral_storage
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.sandbox_config import compute_log_directory
from podhost.linux import fs

_log = logging.getLogger(__name__)


def has_disk_limit(pod: models.Pod) -> bool:
    """Whether there is anything to measure."""
    sources = (volume.empty_dir for volume in pod.spec.volumes)
    return ephemeral_storage.has_limit(pod) or any(
        source is not None and not source.medium and source.size_limit is not None for source in sources
    )


async def measure_storage(context: NodeContext, worker: PodWorker) -> tuple[dict[str, int], int]:
    """Bytes of writable layers and logs by container, and of a pod's volumes.  Raises OSError, PodhostError."""
    used = dict.fromkeys((c.name for c in worker.pod.spec.containers), 0)
    layers = await context.runtime.list_writable_layers(worker.uid)
    for status in context.runtime.list_containers(worker.uid):
        used[status.name] = used.get(status.name, 0) + layers.get(status.id, 0)
    logs = compute_log_directory(worker.pod, context.settings)
    for name in used:
        used[name] += await asyncio.to_thread(fs.disk_usage_bytes, logs / name)
    return used, await context.volumes.measure_disk(worker.pod)


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

    async def _find_exceeded_storage(self, worker: PodWorker) -> list[str]:
        used, volumes_bytes = await measure_storage(self._context, worker)
        found = ephemeral_storage.find_exceeded(worker.pod, used, volumes_bytes)
        return [found] if found else []

    def _arm(self) -> None:
        delay_s = self._context.settings.housekeeping_interval_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_time)

    def _on_time(self) -> None:
        self._tasks.spawn(self._check(), name="volume-limits")

    async def _check(self) -> None:
        for worker in [w for w in self._workers.values() if w.may_be_evicted and has_disk_limit(w.pod)]:
            try:
                exceeded = await self._context.volumes.find_exceeded_limits(worker.pod)
                if not exceeded and ephemeral_storage.has_limit(worker.pod):
                    exceeded = await self._find_exceeded_storage(worker)
            except (PodhostError, OSError) as error:
                _log.warning("cannot measure the volumes of pod %s: %s", worker.uid, error)
                continue
            if exceeded:
                worker.evict(exceeded[0])
        self._timer = None
        # The next measurement begins when this one has ended, however long it took.
        if any(w.may_be_evicted and has_disk_limit(w.pod) for w in self._workers.values()):
            self._arm()
