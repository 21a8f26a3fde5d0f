"""What pods use of a starved resource, against what they request."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podhost.api.pod_requests import sum_requests
from podhost.cri.ids import PodUID
from podhost.cri.stats import ContainerStats, DiskUsage, PodSandboxStats
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.ephemeral_storage import ContainerDisk
from podhost.kubelet.eviction_ranking import ContainerUse, PodUse
from podhost.kubelet.eviction_thresholds import (
    IMAGE_DISK,
    IMAGE_INODES,
    RESOURCE_DISK,
    RESOURCE_INODES,
    RESOURCE_MEMORY,
    RESOURCE_OF,
    RESOURCE_PIDS,
)
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.node_signals import NodeLook
from podhost.kubelet.pod_disk import measure_pod_disk
from podhost.kubelet.pod_worker import PodWorker

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Measured:
    """``total`` is ``None`` when nothing is known; ``by_container`` what messages show."""

    total: int | None = None
    by_container: dict[str, int] = field(default_factory=dict)


async def measure_uses(context: NodeContext, signal: str, workers: Sequence[PodWorker], look: NodeLook) -> list[PodUse]:
    """Of these pods, in no order.  Raises PodhostError."""
    resource = RESOURCE_OF[signal]
    if resource in (RESOURCE_MEMORY, RESOURCE_PIDS):
        measured = await _measure_in_cgroups(context, resource, workers)
        return [_build_use(worker, resource, measured[worker.uid]) for worker in workers]
    is_elsewhere = look.has_image_fs and signal in (IMAGE_DISK, IMAGE_INODES)
    return [
        _build_use(worker, resource, await _measure_on_disk(context, resource, worker, is_elsewhere=is_elsewhere))
        for worker in workers
    ]


async def _measure_in_cgroups(
    context: NodeContext, resource: str, workers: Sequence[PodWorker]
) -> Mapping[PodUID, _Measured]:
    """The pod's cgroup has what its containers' have, and what is in none of them: files in memory, of the dead."""
    found = {worker.uid: _Measured() for worker in workers}

    def pick(stats: ContainerStats | PodSandboxStats) -> int | None:
        if resource == RESOURCE_PIDS:
            return stats.process_count
        return None if stats.memory is None else stats.memory.working_set_bytes

    for sandbox in await context.runtime.list_pod_sandbox_stats(list(found)):
        found[sandbox.pod_uid].total = pick(sandbox)
    for container in await context.runtime.list_container_stats(list(found)):
        if (used := pick(container)) is not None:
            found[container.pod_uid].by_container[container.name] = used
    return found


async def _measure_on_disk(context: NodeContext, resource: str, worker: PodWorker, *, is_elsewhere: bool) -> _Measured:
    """``is_elsewhere``: the full disk is that of the images, on which pods have nothing of their own."""
    try:
        disk = await measure_pod_disk(context, worker)
    except (PodhostError, OSError) as error:
        # It must not keep the others from making room.
        _log.warning("cannot measure the disk of pod %s: %s", worker.uid, describe_cause(error))
        return _Measured()
    found = _Measured(0 if is_elsewhere else _pick(disk.sum_local(worker.pod), resource))
    if resource == RESOURCE_DISK:
        found.by_container = {name: _bytes(each) for name, each in disk.containers.items()}
    return found


def _pick(usage: DiskUsage, resource: str) -> int:
    return usage.inodes if resource == RESOURCE_INODES else usage.used_bytes


def _bytes(container: ContainerDisk) -> int:
    return container.both.used_bytes


def _build_use(worker: PodWorker, resource: str, measured: _Measured) -> PodUse:
    spec = worker.pod.spec
    requests = {
        each.name: (each.resources.requests if each.resources else {})
        for each in (*spec.containers, *spec.init_containers)
    }
    own = spec.resources.requests if spec.resources and resource == RESOURCE_MEMORY else {}
    return PodUse(
        worker.uid,
        int(spec.priority or 0),
        measured.total,
        int(sum_requests(worker.document.get("spec") or {}).get(resource, 0)),
        worker.pod.metadata.name or "",
        str(own[resource]) if resource in own else None,
        tuple(
            ContainerUse(name, measured.by_container[name], str(requests[name].get(resource, "0")))
            for name in requests
            if name in measured.by_container and resource in (RESOURCE_MEMORY, RESOURCE_DISK)
        ),
    )
