"""Quality-of-service class of a pod (``pkg/apis/core/v1/helper/qos``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal

from podhost.api.objects import all_containers
from podhost.api.quantity import parse_quantity

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]
QOS_CLASSES: tuple[QosClass, ...] = ("Guaranteed", "Burstable", "BestEffort")
_COUNTED = ("cpu", "memory")


def _amounts(resources: Mapping[str, Any], key: str) -> dict[str, Fraction]:
    """CPU and memory that are set and above zero; what does not parse is validation's affair."""
    amounts = {}
    for name in _COUNTED:
        value = (resources.get(key) or {}).get(name)
        try:
            amount = parse_quantity(value) if value is not None else Fraction(0)
        except ValueError:
            continue
        if amount > 0:
            amounts[name] = amount
    return amounts


def compute_qos_class(pod_spec: Mapping[str, Any]) -> QosClass:
    """By what the containers request, and how far they are limited."""
    whole = pod_spec.get("resources") or {}
    if whole.get("limits") or whole.get("requests"):
        # Resources of the whole pod leave those of its containers out of account.
        return _classify([whole])
    containers = [c for group, _, c in all_containers(pod_spec) if group != "ephemeralContainers"]
    return _classify([container.get("resources") or {} for container in containers])


def _classify(sections: Iterable[Mapping[str, Any]]) -> QosClass:
    any_set = False
    guaranteed = True
    for resources in sections:
        limits = _amounts(resources, "limits")
        requests = limits | _amounts(resources, "requests")
        any_set = any_set or bool(requests)
        guaranteed = guaranteed and len(limits) == len(_COUNTED) and requests == limits
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
