"""When the node is short of memory or disk, and which pod has to go (the kubelet's eviction manager).  Pure.

After kubernetes 1.37 pkg/kubelet/eviction: hard thresholds; pods that use more than they request go first, then
those of lower priority, then those that are furthest above their request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from podhost.api.qos import compute_qos_class
from podhost.api.quantity import format_quantity, quantity_to_int

MEMORY_PRESSURE, DISK_PRESSURE = "MemoryPressure", "DiskPressure"
MEMORY, DISK = "memory.available", "nodefs.available"
DEFAULT_EVICTION_HARD = "memory.available<100Mi,nodefs.available<10%"
MEMORY_TAINT, DISK_TAINT = "node.kubernetes.io/memory-pressure", "node.kubernetes.io/disk-pressure"
CONDITION_OF = {MEMORY: MEMORY_PRESSURE, DISK: DISK_PRESSURE}
RESOURCE_OF = {MEMORY: "memory", DISK: "ephemeral-storage"}
TAINT_OF = {MEMORY_PRESSURE: MEMORY_TAINT, DISK_PRESSURE: DISK_TAINT}
_CRITICAL_PRIORITY = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Threshold:
    """``signal`` is under pressure below ``amount`` bytes, or below the part ``share`` of the capacity."""

    signal: str
    amount: int = 0
    share: Fraction | None = None

    def compute_bytes(self, capacity: int) -> int:
        return self.amount if self.share is None else int(capacity * self.share)


@dataclass(frozen=True, slots=True)
class Observation:
    """Bytes that are left, and that there are."""

    available: int
    capacity: int


Observations = Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """Bytes of the starved resource."""

    name: str
    used: int
    request: int


@dataclass(frozen=True, slots=True)
class PodUse:
    """``used`` is ``None`` when it is not known; such pods go before all others."""

    uid: str
    priority: int
    used: int | None
    request: int
    containers: tuple[ContainerUse, ...] = ()


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """``memory.available<100Mi,nodefs.available<10%``; none in an empty text.  Raises ValueError."""
    found: dict[str, Threshold] = {}
    for item in filter(None, text.split(",")):
        signal, less, value = item.strip().partition("<")
        if not less or signal not in CONDITION_OF or signal in found:
            raise ValueError(f"{item!r} is not one of memory.available<SIZE and nodefs.available<SIZE, each once")
        found[signal] = _parse_threshold(signal, value)
    # As in Kubernetes 0 turns a threshold off.
    return tuple(each for each in found.values() if each.amount or each.share)


def _parse_threshold(signal: str, value: str) -> Threshold:
    if value.endswith("%"):
        try:
            share = Fraction(value[:-1]) / 100
        except (ValueError, ZeroDivisionError):
            share = Fraction(-1)
        if not 0 <= share < 1:
            raise ValueError(f"{value!r} is not a part such as 10%")
        return Threshold(signal, share=share)
    amount = quantity_to_int(value)
    if amount < 0:
        raise ValueError(f"{value!r} is not a size such as 100Mi")
    return Threshold(signal, amount)


def find_met(thresholds: Iterable[Threshold], observed: Observations) -> list[Threshold]:
    """Those under pressure now, memory first."""
    met = [
        each
        for each in thresholds
        if (seen := observed.get(each.signal)) is not None and seen.available < each.compute_bytes(seen.capacity)
    ]
    return sorted(met, key=lambda each: each.signal != MEMORY)


def update_conditions(
    last_met_s: Mapping[str, float], met: Iterable[Threshold], now_s: float, transition_s: float
) -> dict[str, float]:
    """When each node condition was last justified; it stays true for the transition period after that."""
    kept = {name: at for name, at in last_met_s.items() if now_s - at < transition_s}
    return kept | {CONDITION_OF[each.signal]: now_s for each in met}


def rank_pods(pods: Iterable[PodUse]) -> list[PodUse]:
    """The first is to be evicted first."""

    def order(pod: PodUse) -> tuple[bool, bool, int, int]:
        used = pod.used or 0
        return pod.used is not None, used <= pod.request, pod.priority, pod.request - used

    return sorted(pods, key=order)


def is_critical(pod: Mapping[str, Any], *, is_static: bool) -> bool:
    """Pods of the machine itself are neither evicted nor turned away."""
    return is_static or int((pod.get("spec") or {}).get("priority") or 0) >= _CRITICAL_PRIORITY


def format_eviction(threshold: Threshold, observed: Observation, containers: Sequence[ContainerUse]) -> str:
    """The kubelet's text for the evicted pod."""
    resource = RESOURCE_OF[threshold.signal]
    wanted = format_quantity(threshold.compute_bytes(observed.capacity), "binary")
    available = format_quantity(observed.available, "binary")
    text = f"The node was low on resource: {resource}. Threshold quantity: {wanted}, available: {available}. "
    for each in containers:
        if each.used > each.request:
            used, request = format_quantity(each.used, "binary"), format_quantity(each.request, "binary")
            text += (
                f"Container {each.name} was using {used}, request is {request}, has larger consumption of {resource}. "
            )
    return text


def find_rejection(pod: Mapping[str, Any], conditions: Iterable[str], *, is_static: bool) -> str | None:
    """Why a new pod may not start here now.

    Under memory pressure only BestEffort pods are turned away that do not tolerate its taint.
    """
    present = [name for name in (DISK_PRESSURE, MEMORY_PRESSURE) if name in conditions]
    if not present or is_critical(pod, is_static=is_static):
        return None
    spec = pod.get("spec") or {}
    if present == [MEMORY_PRESSURE] and (compute_qos_class(spec) != "BestEffort" or _tolerates_memory_pressure(spec)):
        return None
    return f"The node had condition: [{' '.join(present)}]. "


def _tolerates_memory_pressure(spec: Mapping[str, Any]) -> bool:
    return any(
        (each.get("effect") or "NoSchedule") == "NoSchedule"
        and (
            (each.get("operator") == "Exists" and each.get("key") in (None, "", MEMORY_TAINT))
            or (each.get("key") == MEMORY_TAINT and not each.get("value"))
        )
        for each in spec.get("tolerations") or ()
    )


def build_taints(old: Sequence[Mapping[str, Any]], conditions: Iterable[str], now: str) -> list[dict[str, Any]]:
    """The node's taints with exactly those of its pressure; the users' stay as they are."""
    wanted = {TAINT_OF[name] for name in conditions}
    kept = [dict(each) for each in old if each.get("key") not in TAINT_OF.values() or each["key"] in wanted]
    present = {each["key"] for each in kept}
    fresh = [{"key": key, "effect": "NoSchedule", "timeAdded": now} for key in sorted(wanted) if key not in present]
    return kept + fresh
