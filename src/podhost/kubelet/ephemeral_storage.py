"""Local disk that pods and containers may use, and what they use (the kubelet's local storage eviction).  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from podhost.api import models
from podhost.api.quantity import canonical, format_quantity, quantity_to_int

RESOURCE = "ephemeral-storage"


def has_limit(pod: models.Pod) -> bool:
    """Whether one of its containers may use only so much."""
    return any(_limit(container) for container in (*pod.spec.init_containers, *pod.spec.containers))


def find_exceeded(pod: models.Pod, used: Mapping[str, int], volumes_bytes: int) -> str | None:
    """The kubelet's text for the pod, or else for the first container, that uses more than it may.

    Args:
        pod: With its limits.
        used: Bytes of writable layer and logs, by container.
        volumes_bytes: Of the pod's emptyDirs on disk.
    """
    limited = {c.name: c for c in (*pod.spec.init_containers, *pod.spec.containers) if _limit(c)}
    total = _compute_pod_limit(pod)
    if total and sum(used.values()) + volumes_bytes > total:
        shown = format_quantity(total, "binary")
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    for name, container in limited.items():
        if used.get(name, 0) > _limit(container):
            assert container.resources is not None
            shown = canonical(container.resources.limits[RESOURCE])
            return f'Container {name} exceeded its local ephemeral storage limit "{shown}". '
    return None


def _limit(container: models.Container) -> int:
    limits = container.resources.limits if container.resources else {}
    return quantity_to_int(limits[RESOURCE]) if RESOURCE in limits else 0


def _compute_pod_limit(pod: models.Pod) -> int:
    """Of containers that run together, or of the largest moment before; those without a limit count as nothing."""
    sidecars = peak = 0
    for container in pod.spec.init_containers:
        peak = max(peak, sidecars + _limit(container))
        if container.restart_policy == "Always":
            sidecars += _limit(container)
    return max(sidecars + sum(map(_limit, pod.spec.containers)), peak)
