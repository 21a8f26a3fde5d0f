"""``/stats/summary`` of a kubelet: what node, pods and containers use, in Kubernetes' shape.  Pure.

After kubernetes 1.37 staging/src/k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api import models
from podhost.api.quantity import quantity_to_int
from podhost.api.time import format_time
from podhost.cri.stats import (
    ContainerUsage,
    CpuUsage,
    DiskUsage,
    FileSystemStats,
    InterfaceStats,
    MemoryUsage,
    NodeUsage,
    PodSandboxStats,
)
from podhost.kubelet.ephemeral_storage import PodDisk
from podhost.linux.disk_space import DiskSpace

Document = dict[str, Any]
_DEFAULT_INTERFACE = "eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """One pod that runs.  Without ``disk`` only processors and memory were asked for."""

    pod: models.Pod
    containers: tuple[ContainerUsage, ...]
    sandbox: PodSandboxStats | None = None
    disk: PodDisk | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSeen:
    """The machine."""

    name: str
    started_at_ns: int
    memory_bytes: int
    usage: NodeUsage
    pods: tuple[CpuUsage | None, MemoryUsage | None] = (None, None)
    """Of the cgroup of all pods."""
    daemon: tuple[CpuUsage | None, MemoryUsage | None] = (None, None)
    """Of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDetails:
    """What is not about processors and memory."""

    disk: DiskSpace
    images_disk: DiskSpace
    images_bytes: int
    tasks: tuple[int, int]
    """Running, and the most there can be."""
    interfaces: tuple[InterfaceStats, ...] = ()
    swap: tuple[int, int] = (0, 0)
    """Bytes that are left, and that are used."""


def build_summary(node: NodeSeen, details: NodeDetails | None, pods: Iterable[PodSeen], now_ns: int) -> Document:
    """The whole document; without ``details`` that of ``?only_cpu_and_memory=true``."""
    seen, time = list(pods), format_time(now_ns)
    return {
        "node": _build_node(node, details, seen, time),
        "pods": [_build_pod(each, details, time) for each in seen],
    }


def _build_node(node: NodeSeen, details: NodeDetails | None, pods: Iterable[PodSeen], time: str) -> Document:
    started = format_time(node.started_at_ns)
    parts = (("kubelet", node.daemon), ("pods", node.pods))
    cpu = CpuUsage(timestamp_ns=0, usage_core_ns=node.usage.usage_core_ns)
    found: Document = {
        "nodeName": node.name,
        "systemContainers": [
            {
                "name": name,
                "startTime": started,
                **_build_cpu(cpu, None, time),
                **_build_memory(memory, node.memory_bytes if name == "pods" else None, time),
            }
            for name, (cpu, memory) in parts
            if cpu is not None or memory is not None
        ],
        "startTime": started,
        **_build_cpu(cpu, node.usage.nano_cores, time),
        **_build_memory(node.usage.memory, node.memory_bytes, time),
    }
    if details is None:
        return found
    available, used = details.swap
    layers = sum((each.disk.sum_layers() for each in pods if each.disk is not None), DiskUsage())
    images = _build_disk(details.images_disk, DiskUsage(used_bytes=details.images_bytes), time)
    space = details.disk
    whole = DiskUsage(used_bytes=space.capacity_bytes - space.free_bytes, inodes=space.inodes - space.inodes_free)
    running, most = details.tasks
    return found | {
        **_build_network(details.interfaces, time),
        "fs": _build_disk(space, whole, time),
        "runtime": {"imageFs": images, "containerFs": _build_disk(space, layers, time)},
        "rlimit": {"time": time, "maxpid": most, "curproc": running},
        "swap": {"time": time, "swapAvailableBytes": available, "swapUsageBytes": used},
    }


def _build_pod(seen: PodSeen, details: NodeDetails | None, time: str) -> Document:
    meta, sandbox = seen.pod.metadata, seen.sandbox
    limits = {each.name: _read_memory_limit(each) for each in _list_containers(seen.pod)}
    nano_cores = [each.rates.nano_cores for each in seen.containers if each.rates is not None]
    started_ns = sandbox.created_at_ns if sandbox else min(each.stats.started_at_ns for each in seen.containers)
    found: Document = {
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "startTime": format_time(started_ns),
        "containers": [
            _build_container(each, limits.get(each.stats.name), seen.disk, details, time) for each in seen.containers
        ],
    }
    if sandbox is not None:
        found |= _build_cpu(sandbox.cpu, sum(nano_cores) if nano_cores else None, time)
        found |= _build_memory(sandbox.memory, _sum_memory_limit(seen.pod), time)
    if details is None or seen.disk is None:
        return found
    if sandbox is not None:
        found |= _build_network(sandbox.interfaces, time)
    volumes = [_build_volume(seen.pod, name, stats, time) for name, stats in sorted(seen.disk.volumes.items())]
    if volumes:
        found["volume"] = volumes
    found["ephemeral-storage"] = _build_disk(details.disk, seen.disk.sum_local(seen.pod), time)
    if sandbox is not None and sandbox.process_count is not None:
        found["process_stats"] = {"process_count": sandbox.process_count}
    return found


def _build_container(
    usage: ContainerUsage, memory_limit: int | None, disk: PodDisk | None, details: NodeDetails | None, time: str
) -> Document:
    stats = usage.stats
    found: Document = {
        "name": stats.name,
        "startTime": format_time(stats.started_at_ns),
        **_build_cpu(stats.cpu, usage.rates.nano_cores if usage.rates else None, time),
        **_build_memory(stats.memory, memory_limit, time),
    }
    if disk is not None and details is not None and stats.name in disk.containers:
        own = disk.containers[stats.name]
        found["rootfs"] = _build_disk(details.disk, own.rootfs, time)
        found["logs"] = _build_disk(details.disk, own.logs, time)
    return found


def _build_cpu(usage: CpuUsage | None, nano_cores: int | None, time: str) -> Document:
    if usage is None:
        return {}
    rate = {} if nano_cores is None else {"usageNanoCores": nano_cores}
    return {"cpu": {"time": time, **rate, "usageCoreNanoSeconds": usage.usage_core_ns}}


def _build_memory(usage: MemoryUsage | None, limit: int | None, time: str) -> Document:
    if usage is None:
        return {}
    available = {} if limit is None else {"availableBytes": max(0, limit - usage.working_set_bytes)}
    return {
        "memory": {
            "time": time,
            **available,
            "usageBytes": usage.usage_bytes,
            "workingSetBytes": usage.working_set_bytes,
            "rssBytes": usage.rss_bytes,
            "pageFaults": usage.page_faults,
            "majorPageFaults": usage.major_page_faults,
        }
    }


def _build_network(interfaces: Iterable[InterfaceStats], time: str) -> Document:
    """The default interface's counters stand a second time beside the list."""
    documents = [
        {
            "name": each.name,
            "rxBytes": each.rx_bytes,
            "rxErrors": each.rx_errors,
            "txBytes": each.tx_bytes,
            "txErrors": each.tx_errors,
        }
        for each in interfaces
    ]
    if not documents:
        return {}
    default = next((each for each in documents if each["name"] == _DEFAULT_INTERFACE), {"name": ""})
    return {"network": {"time": time, **default, "interfaces": documents}}


def _build_disk(space: DiskSpace, used: DiskUsage, time: str) -> Document:
    stats = FileSystemStats(
        used=used,
        capacity_bytes=space.capacity_bytes,
        available_bytes=space.available_bytes,
        inodes=space.inodes,
        inodes_free=space.inodes_free,
    )
    return _build_fs(stats, time)


def _build_fs(stats: FileSystemStats, time: str) -> Document:
    return {
        "time": time,
        "availableBytes": stats.available_bytes,
        "capacityBytes": stats.capacity_bytes,
        "usedBytes": stats.used.used_bytes,
        "inodesFree": stats.inodes_free,
        "inodes": stats.inodes,
        "inodesUsed": stats.used.inodes,
    }


def _build_volume(pod: models.Pod, name: str, stats: FileSystemStats, time: str) -> Document:
    claims = {
        volume.name: _find_claim(pod, volume)
        for volume in pod.spec.volumes
        if volume.persistent_volume_claim is not None or volume.ephemeral is not None
    }
    found = _build_fs(stats, time) | {"name": name}
    if name in claims:
        found["pvcRef"] = {"name": claims[name], "namespace": pod.metadata.namespace}
    return found


def _find_claim(pod: models.Pod, volume: models.Volume) -> str:
    source = volume.persistent_volume_claim
    return source.claim_name if source is not None else f"{pod.metadata.name}-{volume.name}"


def _list_containers(pod: models.Pod) -> tuple[models.Container, ...]:
    return (*pod.spec.init_containers, *pod.spec.containers)


def _read_memory_limit(container: models.Container) -> int | None:
    limits: Mapping[str, Any] = container.resources.limits if container.resources else {}
    return quantity_to_int(limits["memory"]) if "memory" in limits else None


def _sum_memory_limit(pod: models.Pod) -> int | None:
    """The pod's own, or that of its containers together when each of them has one."""
    if pod.spec.resources and "memory" in pod.spec.resources.limits:
        return quantity_to_int(pod.spec.resources.limits["memory"])
    limits = [_read_memory_limit(each) for each in pod.spec.containers]
    known = [each for each in limits if each is not None]
    return sum(known) if known and len(known) == len(limits) else None
