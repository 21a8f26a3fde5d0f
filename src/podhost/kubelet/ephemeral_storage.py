"""Local disk that pods, containers and volumes may use, and what they use (the kubelet's local storage eviction).

Pure, after ``localStorageEviction`` of kubernetes 1.37 pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from podhost.api import models
from podhost.api.quantity import canonical, format_quantity, get_family, quantity_to_int
from podhost.cri.stats import DiskUsage, FileSystemStats

RESOURCE = "ephemeral-storage"
_NOTHING = DiskUsage()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDisk:
    """Of all attempts of one container."""

    rootfs: DiskUsage = _NOTHING
    """Of the writable layers."""
    logs: DiskUsage = _NOTHING

    @property
    def both(self) -> DiskUsage:
        return self.rootfs + self.logs


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDisk:
    """What a pod takes up on disk."""

    containers: Mapping[str, ContainerDisk] = field(default_factory=dict)
    volumes: Mapping[str, FileSystemStats] = field(default_factory=dict)

    def sum_layers(self) -> DiskUsage:
        """Writable layers of all containers."""
        return sum((each.rootfs for each in self.containers.values()), DiskUsage())

    def sum_local(self, pod: models.Pod) -> DiskUsage:
        """What counts as the pod's ephemeral storage: layers, logs and local volumes."""
        total = DiskUsage()
        for each in self.containers.values():
            total += each.both
        for name in list_local_volumes(pod) & self.volumes.keys():
            total += self.volumes[name].used
        return total


def list_local_volumes(pod: models.Pod) -> set[str]:
    """Volumes on the node's disk that live and die with the pod: emptyDirs that are not in memory, configMaps."""
    return {
        volume.name
        for volume in pod.spec.volumes
        if (volume.empty_dir is not None and not volume.empty_dir.medium) or volume.config_map is not None
    }


def list_limited_volumes(pod: models.Pod) -> dict[str, str]:
    """``sizeLimit`` of the emptyDirs on disk that have one.  Those in memory cannot outgrow theirs."""
    return {
        volume.name: str(volume.empty_dir.size_limit)
        for volume in pod.spec.volumes
        if volume.empty_dir is not None
        and not volume.empty_dir.medium
        and volume.empty_dir.size_limit is not None
        and quantity_to_int(volume.empty_dir.size_limit) > 0
    }


def has_limit(pod: models.Pod) -> bool:
    """Whether its containers may use only so much."""
    return _compute_pod_limit(pod) is not None


def find_exceeded(pod: models.Pod, disk: PodDisk) -> str | None:
    """The kubelet's text for the first limit that the pod is over: of its volumes, of itself, of its containers."""
    for name, limit in list_limited_volumes(pod).items():
        if name in disk.volumes and disk.volumes[name].used.used_bytes > quantity_to_int(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{canonical(limit)}". '
    total = _compute_pod_limit(pod)
    if total is not None and disk.sum_local(pod).used_bytes > quantity_to_int(total):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for container in pod.spec.containers:
        own = _find_limit(container)
        used = disk.containers.get(container.name, ContainerDisk()).both.used_bytes
        if own is not None and 0 < quantity_to_int(own) < used:
            return f'Container {container.name} exceeded its local ephemeral storage limit "{canonical(own)}". '
    return None


def _find_limit(container: models.Container) -> str | None:
    limits = container.resources.limits if container.resources else {}
    return str(limits[RESOURCE]) if RESOURCE in limits else None


def _compute_pod_limit(pod: models.Pod) -> str | None:
    """Of containers that run together, or of the largest moment before; those without a limit count as nothing.

    Spelled in the family of the first limit, as Go's sums are.
    """
    containers = (*pod.spec.containers, *pod.spec.init_containers)
    limits = [found for each in containers if (found := _find_limit(each)) is not None]
    if not limits:
        return None
    sidecars = peak = 0
    for container in pod.spec.init_containers:
        peak = max(peak, sidecars + _count(container))
        if container.restart_policy == "Always":
            sidecars += _count(container)
    total = max(sidecars + sum(map(_count, pod.spec.containers)), peak)
    return format_quantity(total, get_family(limits[0]))


def _count(container: models.Container) -> int:
    return quantity_to_int(_find_limit(container) or 0)


def choose_measured_volumes(pod: models.Pod) -> Collection[str]:
    """Volumes that have to be measured to know whether the pod is over a limit."""
    return list_local_volumes(pod) if has_limit(pod) else list_limited_volumes(pod)
