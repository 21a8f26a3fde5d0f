"""Nodes."""

from __future__ import annotations

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.metadata import invalid_all, one_of

_SPEC = Path("spec")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate_node(node: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((node.get("spec") or {}).get("taints") or ()):
        at = _SPEC.child("taints").index(index)
        key, value, effect = (taint.get(name) or "" for name in ("key", "value", "effect"))
        errors += invalid_all(at.child("key"), key, names.check_qualified_name(key))
        messages = names.check_label_value(value)
        if messages:
            errors.append(at.child("value").invalid(value, ";".join(messages)))
        errors += one_of(at.child("effect"), effect, _EFFECTS)
        if (key, effect) in seen:
            # What Go prints for it: its internal struct as JSON.
            struct = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            errors.append(at.duplicate(struct))
        seen.add((key, effect))
    return errors


def validate_node_update(new: Object, old: Object) -> list[FieldError]:
    errors = validate_node(new)
    spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
    if old_spec.get("providerID") and spec.get("providerID") != old_spec["providerID"]:
        detail = 'node updates may not change providerID except from "" to valid'
        errors.append(_SPEC.child("providerID").forbidden(detail))
    if old_spec.get("podCIDRs") and spec.get("podCIDRs") != old_spec["podCIDRs"]:
        detail = 'node updates may not change podCIDR except from "" to valid'
        errors.append(_SPEC.child("podCIDRs").forbidden(detail))
    return errors
