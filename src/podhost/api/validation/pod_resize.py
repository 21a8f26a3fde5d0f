"""``pods/resize``: what may change of a pod's resources while it runs (``ValidatePodResize``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.qos import compute_qos_class
from podhost.api.validation.pods import validate_pod_spec

_MUTABLE = ("cpu", "memory")
_SPEC = Path("spec")


def validate_pod_resize(new: Object, old: Object) -> list[FieldError]:
    """``new`` has been through ``prepare_pod_resize``: only resources and resize policies can differ."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    errors = validate_pod_spec(spec, _SPEC)
    kept = (old.get("status") or {}).get("qosClass") or compute_qos_class(before)
    if kept != compute_qos_class(spec):
        shown = (new.get("status") or {}).get("qosClass")
        errors.append(_SPEC.invalid(shown, "Pod QOS Class may not change as a result of resizing"))
    errors += _validate_removal(spec, before, _SPEC.child("resources"))
    for group, sidecars in (("initContainers", True), ("containers", False)):
        pairs = zip(spec.get(group) or (), before.get(group) or (), strict=True)
        for index, (container, former) in enumerate(pairs):
            if not sidecars or former.get("restartPolicy") == "Always":
                errors += _validate_removal(container, former, _SPEC.child(group).index(index).child("resources"))
    for group, words in (
        ("containers", "only cpu and memory resources are mutable"),
        ("initContainers", "only cpu and memory resources for sidecar containers are mutable"),
    ):
        errors += _validate_rest(spec, before, group, words)
    return errors


def _validate_removal(holder: Mapping[str, Any], former: Mapping[str, Any], path: Path) -> list[FieldError]:
    return [
        path.child(section).forbidden(f"resource {section} cannot be removed")
        for section in ("requests", "limits")
        if _section(former, section).keys() - _section(holder, section).keys()
    ]


def _validate_rest(spec: Mapping[str, Any], before: Mapping[str, Any], group: str, words: str) -> list[FieldError]:
    errors = []
    for container, former in zip(spec.get(group) or (), before.get(group) or (), strict=True):
        if group == "initContainers" and former.get("restartPolicy") != "Always":
            if container != former:
                errors.append(_SPEC.forbidden("resources for non-sidecar init containers are immutable"))
        elif _without_mutable(container) != _without_mutable(former):
            errors.append(_SPEC.forbidden(words))
    return errors


def _without_mutable(container: Mapping[str, Any]) -> dict[str, Any]:
    rest = copy.deepcopy(dict(container))
    resources = rest.pop("resources", None) or {}
    left = {
        section: {name: value for name, value in (resources.get(section) or {}).items() if name not in _MUTABLE}
        for section in ("limits", "requests")
    }
    return {**rest, "resources": left | {"claims": resources.get("claims") or []}}


def _section(holder: Mapping[str, Any], section: str) -> dict[str, Any]:
    return (holder.get("resources") or {}).get(section) or {}
