"""Measures node and pods for those who ask the kubelet: ``/stats/summary`` and ``/metrics/resource``.

Nothing is measured while nobody asks.  What lies on disk is remembered for a moment: walking the trees of many pods
takes longer than reading their cgroups.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from podhost.cri.ids import PodUID
from podhost.cri.measured import build_cpu, build_interface, build_memory
from podhost.cri.stats import CpuUsage, MemoryUsage, UsageApi
from podhost.errors import PodhostError
from podhost.kubelet.ephemeral_storage import PodDisk
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.pod_disk import measure_pod_disk
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.stats_summary import NodeDetails, NodeSeen, PodSeen
from podhost.linux.disk_space import read_disk_space
from podhost.linux.interface_counters import read_interface_counters
from podhost.linux.task_count import read_task_count
from podhost.linux.usage import CgroupUse, read_own_use, read_swap

_FRESH_S = 10.0
_VIRTUAL = ("veth", "docker", "nerdctl", "ph")
"""Beginnings of links that lead into containers: their traffic is counted at the other end."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was seen at one moment."""

    node: NodeSeen
    pods: list[PodSeen]
    now_ns: int
    details: NodeDetails | None = None


class NodeStats:
    """Of one kubelet.

    Args:
        read_pods: Use of the cgroup of all pods; blocking.
    """

    def __init__(self, kubelet: Kubelet, usage: UsageApi, read_pods: Callable[[], CgroupUse]) -> None:
        self._kubelet = kubelet
        self._context = kubelet.context
        self._usage = usage
        self._read_pods = read_pods
        self._disks: dict[PodUID, tuple[float, PodDisk]] = {}

    async def measure(self, *, with_details: bool) -> Measured:
        """Processors and memory; ``with_details`` disks, networks and process ids, too.  Raises OSError."""
        context, workers = self._context, {worker.uid: worker for worker in self._kubelet.list_workers()}
        node, usages, sandboxes, parts = await asyncio.gather(
            self._usage.observe_node(),
            self._usage.observe_pods([worker.document for worker in workers.values()]),
            context.runtime.list_pod_sandbox_stats(list(workers)),
            asyncio.to_thread(lambda: (self._read_pods(), read_own_use())),
        )
        by_uid = {each.pod_uid: each for each in sandboxes}
        running = [worker for worker in workers.values() if usages.get(worker.uid)]
        disks = await self._measure_disks(running) if with_details else {}
        return Measured(
            NodeSeen(
                name=context.settings.node_name,
                started_at_ns=context.started_at_ns,
                memory_bytes=context.host.memory_bytes,
                usage=node,
                pods=_build_part(parts[0]),
                daemon=_build_part(parts[1]),
            ),
            [
                PodSeen(
                    pod=worker.pod,
                    containers=usages[worker.uid],
                    sandbox=by_uid.get(worker.uid),
                    disk=disks.get(worker.uid),
                )
                for worker in running
            ],
            context.clock.now_ns(),
            await asyncio.to_thread(self._read_details) if with_details else None,
        )

    async def _measure_disks(self, workers: list[PodWorker]) -> dict[PodUID, PodDisk]:
        now_s = asyncio.get_running_loop().time()
        self._disks = {uid: kept for uid, kept in self._disks.items() if now_s - kept[0] < _FRESH_S}
        for worker in workers:
            if worker.uid not in self._disks:
                try:
                    disk = await measure_pod_disk(self._context, worker)
                except (PodhostError, OSError):
                    continue  # It ends just now.
                self._disks[worker.uid] = now_s, disk
        return {uid: disk for uid, (_, disk) in self._disks.items()}

    def _read_details(self) -> NodeDetails:
        settings = self._context.settings
        return NodeDetails(
            disk=read_disk_space(settings.state_dir),
            images_disk=read_disk_space(settings.images_dir or settings.state_dir),
            images_bytes=sum(image.size_bytes for image in self._context.images.list_images()),
            tasks=read_task_count(),
            interfaces=tuple(
                build_interface(each) for each in read_interface_counters() if not each.name.startswith(_VIRTUAL)
            ),
            swap=read_swap(),
        )


def _build_part(use: CgroupUse) -> tuple[CpuUsage | None, MemoryUsage | None]:
    return build_cpu(use, time.monotonic_ns()), build_memory(use.memory)
