"""Measures what a pod takes up on disk: writable layers, logs, volumes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from podhost.cri.stats import DiskUsage
from podhost.kubelet.ephemeral_storage import ContainerDisk, PodDisk
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.sandbox_config import compute_log_directory
from podhost.linux import fs


async def measure_pod_disk(
    context: NodeContext, worker: PodWorker, *, containers: bool = True, volumes: Collection[str] | None = None
) -> PodDisk:
    """Trees are walked in threads.

    Args:
        containers: Whether layers and logs are wanted.
        volumes: Names of those that are wanted; ``None``: all.

    Raises:
        OSError, PodhostError: Something cannot be read.
    """
    return PodDisk(
        containers=await _measure_containers(context, worker) if containers else {},
        volumes=await context.volumes.measure_volumes(worker.pod, volumes),
    )


async def _measure_containers(context: NodeContext, worker: PodWorker) -> dict[str, ContainerDisk]:
    layers = await context.runtime.list_writable_layers(worker.uid)
    roots: dict[str, DiskUsage] = {c.name: DiskUsage() for c in worker.pod.spec.containers}
    for status in context.runtime.list_containers(worker.uid):
        roots[status.name] = roots.get(status.name, DiskUsage()) + layers.get(status.id, DiskUsage())
    logs = compute_log_directory(worker.pod, context.settings)
    found = {}
    for name, rootfs in roots.items():
        use = await asyncio.to_thread(fs.measure_tree, logs / name)
        used = DiskUsage(used_bytes=use.allocated_bytes, inodes=use.inodes)
        found[name] = ContainerDisk(rootfs=rootfs, logs=used)
    return found
