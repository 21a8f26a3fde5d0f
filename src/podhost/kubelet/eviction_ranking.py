"""Which pod has to go, and what is said about it (the kubelet's ranking and eviction message).  Pure.

Memory, disk and inodes: pods that use more than they request go first, then those of lower priority, then those
that are furthest above their request.  Process ids: those of lower priority, then those with the most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podhost.api.quantity import canonical, format_quantity, quantity_to_int
from podhost.kubelet.eviction_thresholds import (
    RESOURCE_OF,
    RESOURCE_PIDS,
    Observation,
    Threshold,
    format_available,
)


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """Bytes of the starved resource."""

    name: str
    used: int
    request: str = "0"
    """A quantity."""

    @property
    def is_over(self) -> bool:
        return self.used > quantity_to_int(self.request)


@dataclass(frozen=True, slots=True)
class PodUse:
    """``used`` is ``None`` when it is not known; such pods go before all others."""

    uid: str
    priority: int
    used: int | None
    request: int
    name: str = ""
    own_request: str | None = None
    """Of the pod as a whole (``spec.resources``), for messages."""
    containers: tuple[ContainerUse, ...] = ()


@dataclass(frozen=True, slots=True)
class EvictionText:
    """What the pod's status and event say, and the event's annotations."""

    message: str
    annotations: dict[str, str]


def rank_pods(resource: str, pods: Iterable[PodUse]) -> list[PodUse]:
    """The first is to be evicted first."""

    def by_use(pod: PodUse) -> tuple[bool, bool, int, int]:
        used = pod.used or 0
        return pod.used is not None, used <= pod.request, pod.priority, pod.request - used

    def by_count(pod: PodUse) -> tuple[int, bool, int]:
        return pod.priority, pod.used is not None, -(pod.used or 0)

    return sorted(pods, key=by_count if resource == RESOURCE_PIDS else by_use)


def build_eviction_text(threshold: Threshold, observed: Observation, pod: PodUse) -> EvictionText:
    """The kubelet's words for an evicted pod."""
    resource = RESOURCE_OF[threshold.signal]
    wanted, available = threshold.value.format(observed.capacity), format_available(threshold.signal, observed)
    message = f"The node was low on resource: {resource}. Threshold quantity: {wanted}, available: {available}. "
    if pod.used is None:
        return EvictionText(message, {})
    annotations: dict[str, str] = {}
    if pod.own_request is not None:
        used = format_quantity(pod.used, "binary")
        message += f"Pod {pod.name} was using {used}, request is {canonical(pod.own_request)}, "
        message += f"has larger consumption of {resource}. "
        annotations |= {"offending_pod": pod.name, "offending_pod_usage": used}
    over = [(each, format_quantity(each.used, "binary")) for each in pod.containers if each.is_over]
    for each, used in over:
        message += f"Container {each.name} was using {used}, request is {canonical(each.request)}, "
        message += f"has larger consumption of {resource}. "
    annotations |= {
        "offending_containers": ",".join(each.name for each, _ in over),
        "offending_containers_usage": ",".join(used for _, used in over),
        "starved_resource": resource,
    }
    return EvictionText(message, annotations)


def compute_grace_s(threshold: Threshold, max_grace_s: int, pod_grace_s: int) -> float:
    """How long the pod may take to end.  ``max_grace_s`` below 0: as long as the pod says."""
    if threshold.is_hard:
        return 1.0
    return float(max(1, pod_grace_s if max_grace_s < 0 else min(max_grace_s, pod_grace_s)))
