"""PriorityClass of scheduling.k8s.io/v1: its declaration, its rules, and the two that every cluster has.

On one node nothing is preempted; the number is shown on the pod and counts when pods are evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from podhost.api.columns import AGE, NAME, Column, format_age_of, name_of
from podhost.api.field_errors import FieldError, Path
from podhost.api.kind import Kind
from podhost.api.objects import Object
from podhost.api.validation.metadata import immutable

MAX_USER_PRIORITY = 1_000_000_000
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_SYSTEM_PREFIX = "system-"
_POLICIES = ("PreemptLowerPriority", "Never")
_DESCRIPTIONS = {
    "system-node-critical": "Used for system critical pods that must not be moved from their current node.",
    "system-cluster-critical": (
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
    ),
}


def default_priority_class(priority_class: Object) -> None:
    priority_class.setdefault("preemptionPolicy", "PreemptLowerPriority")


def validate_priority_class(priority_class: Object) -> list[FieldError]:
    name, value = name_of(priority_class), priority_class.get("value") or 0
    errors: list[FieldError] = []
    if name.startswith(_SYSTEM_PREFIX):
        if SYSTEM_CLASSES.get(name) != value:
            why = (
                f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
                if name in SYSTEM_CLASSES
                else f"{name} is not a known system priority class"
            )
            detail = (
                f"priority class names with '{_SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            )
            errors.append(Path("metadata").child("name").forbidden(detail))
    elif value > MAX_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}"
        errors.append(Path("value").forbidden(detail))
    policy = priority_class.get("preemptionPolicy")
    if policy is not None and policy not in _POLICIES:
        errors.append(Path("preemptionPolicy").not_supported(policy, _POLICIES))
    return errors


def validate_priority_class_update(new: Object, old: Object) -> list[FieldError]:
    errors = []
    if new.get("value") != old.get("value"):
        errors.append(Path("value").forbidden("may not be changed in an update."))
    return errors + immutable(Path("preemptionPolicy"), new.get("preemptionPolicy"), old.get("preemptionPolicy"))


def build_system_classes() -> list[Object]:
    """Those that every cluster has."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "description": _DESCRIPTIONS[name],
            "preemptionPolicy": "PreemptLowerPriority",
            "value": value,
        }
        for name, value in SYSTEM_CLASSES.items()
    ]


def find_global_default(classes: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of several the lowest, as Kubernetes takes it."""
    marked = [each for each in classes if each.get("globalDefault")]
    return min(marked, key=lambda each: int(each.get("value") or 0), default=None)


def find_priority_class(name: str, classes: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The class of a pod that names it; of one that names none, the global default."""
    if not name:
        return find_global_default(classes)
    return next((each for each in classes if each["metadata"]["name"] == name), None)


def assign_priority(spec: Object, chosen: Mapping[str, Any] | None) -> None:
    """Give a pod's spec what its class says, in place; without a class the priority is 0."""
    if chosen is not None:
        spec["priorityClassName"] = chosen["metadata"]["name"]
    spec["priority"] = int((chosen or {}).get("value") or 0)
    spec.setdefault("preemptionPolicy", (chosen or {}).get("preemptionPolicy") or "PreemptLowerPriority")


def priority_class_row(priority_class: Object, now: datetime) -> list[Any]:
    return [
        name_of(priority_class),
        priority_class.get("value") or 0,
        bool(priority_class.get("globalDefault")),
        format_age_of(priority_class, now),
        priority_class.get("preemptionPolicy") or "",
    ]


PRIORITY_CLASS = Kind(
    kind="PriorityClass",
    group="scheduling.k8s.io",
    version="v1",
    plural="priorityclasses",
    singular="priorityclass",
    schema="io.k8s.api.scheduling.v1.PriorityClass",
    short_names=("pc",),
    namespaced=False,
    default=default_priority_class,
    validate_create=validate_priority_class,
    validate_update=validate_priority_class_update,
    columns=(
        NAME,
        Column("Value", type="integer", field="scheduling.v1.PriorityClass.value"),
        Column("Global-Default", type="boolean", field="scheduling.v1.PriorityClass.globalDefault"),
        AGE,
        Column("PreemptionPolicy", field="scheduling.v1.PriorityClass.preemptionPolicy"),
    ),
    row=priority_class_row,
)
