"""When the node is under pressure, and what that means for it and for new pods (the kubelet's eviction manager).

Pure, after kubernetes 1.37 pkg/kubelet/eviction/eviction_manager.go::

    free ──a threshold is met──▶ condition true ──for its grace period──▶ due: reclaim, evict
    due  ──more than threshold and minimum reclaim is left──▶ condition true for the transition period──▶ free
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from podhost.api.node_fit import tolerates
from podhost.api.objects import is_static_pod
from podhost.api.qos import compute_qos_class
from podhost.kubelet.eviction_thresholds import (
    CONDITION_OF,
    DISK_PRESSURE,
    IMAGE_DISK,
    IMAGE_INODES,
    MEMORY_PRESSURE,
    PID_PRESSURE,
    RESOURCE_DISK,
    RESOURCE_INODES,
    RESOURCE_OF,
    Observations,
    Threshold,
    find_met,
    find_near,
    sort_thresholds,
)

MEMORY_TAINT = "node.kubernetes.io/memory-pressure"
DISK_TAINT = "node.kubernetes.io/disk-pressure"
PID_TAINT = "node.kubernetes.io/pid-pressure"
TAINT_OF = {MEMORY_PRESSURE: MEMORY_TAINT, DISK_PRESSURE: DISK_TAINT, PID_PRESSURE: PID_TAINT}
_CRITICAL_PRIORITY = 2_000_000_000
_OFTEN_S = 10.0
"""The kubelet's monitoring period."""


@dataclass(frozen=True, slots=True)
class PressureState:
    """What is remembered between two looks.  Times of the loop's clock."""

    first_met_s: Mapping[Threshold, float] = field(default_factory=dict)
    """Since when a threshold has been met without a break."""
    justified_s: Mapping[str, float] = field(default_factory=dict)
    """When each node condition was last justified; those that are true."""
    due: tuple[Threshold, ...] = ()
    """Those whose grace period is over, the most important first."""

    @property
    def conditions(self) -> frozenset[str]:
        return frozenset(self.justified_s)


def advance(
    state: PressureState,
    thresholds: Iterable[Threshold],
    observed: Observations,
    now_s: float,
    transition_s: float,
) -> PressureState:
    """The state after one look."""
    met = find_met(thresholds, observed)
    met += tuple(each for each in find_met(state.due, observed, with_reclaim=True) if each not in met)
    first_met_s = {each: state.first_met_s.get(each, now_s) for each in met}
    kept = {name: at_s for name, at_s in state.justified_s.items() if now_s - at_s < transition_s}
    return PressureState(
        first_met_s,
        kept | {CONDITION_OF[each.signal]: now_s for each in met},
        sort_thresholds(each for each, at_s in first_met_s.items() if now_s - at_s >= each.grace_s),
    )


def compute_wait_s(
    state: PressureState, thresholds: Iterable[Threshold], observed: Observations, now_s: float, seldom_s: float
) -> float:
    """Seconds until the next look: seldom while there is plenty, as often as the kubelet when it gets scarce.

    A grace period that ends before is not overslept.
    """
    if not state.conditions and not find_near(thresholds, observed):
        return seldom_s
    ends = (at_s + each.grace_s - now_s for each, at_s in state.first_met_s.items() if each not in state.due)
    return max(0.0, min(seldom_s, _OFTEN_S, *ends))


class Reclaim(Enum):
    """What the node can do without before a pod has to go."""

    DEAD_CONTAINERS = auto()
    UNUSED_IMAGES = auto()


def choose_reclaims(signal: str, *, has_image_fs: bool) -> tuple[Reclaim, ...]:
    """What may help; writable layers are always on the node's file system."""
    if RESOURCE_OF[signal] not in (RESOURCE_DISK, RESOURCE_INODES):
        return ()
    if not has_image_fs:
        return (Reclaim.DEAD_CONTAINERS, Reclaim.UNUSED_IMAGES)
    return (Reclaim.UNUSED_IMAGES,) if signal in (IMAGE_DISK, IMAGE_INODES) else (Reclaim.DEAD_CONTAINERS,)


def is_critical(pod: Mapping[str, Any]) -> bool:
    """Pods of the machine itself are neither evicted nor turned away."""
    return is_static_pod(pod) or int((pod.get("spec") or {}).get("priority") or 0) >= _CRITICAL_PRIORITY


def find_rejection(pod: Mapping[str, Any], conditions: Iterable[str]) -> str | None:
    """Why a new pod may not start here now.

    Under memory pressure only BestEffort pods are turned away that do not tolerate its taint.
    """
    present = sorted(conditions)
    if not present or is_critical(pod):
        return None
    spec = pod.get("spec") or {}
    taint = {"key": MEMORY_TAINT, "effect": "NoSchedule"}
    if present == [MEMORY_PRESSURE] and (compute_qos_class(spec) != "BestEffort" or tolerates(spec, taint)):
        return None
    return f"The node had condition: [{' '.join(present)}]. "


def build_taints(old: Sequence[Mapping[str, Any]], conditions: Iterable[str], now: str) -> list[dict[str, Any]]:
    """The node's taints with exactly those of its pressure; the users' stay as they are."""
    wanted = {TAINT_OF[name] for name in conditions}
    kept = [dict(each) for each in old if each.get("key") not in TAINT_OF.values() or each["key"] in wanted]
    present = {each["key"] for each in kept}
    fresh = [{"key": key, "effect": "NoSchedule", "timeAdded": now} for key in sorted(wanted) if key not in present]
    return kept + fresh
