"""What may change in the spec of an existing pod."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from podhost.api.field_errors import FieldError, Path, go_quote
from podhost.api.objects import Object
from podhost.api.validation.metadata import in_range

_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_spec_changes(new: Object, old: Object, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for group in ("containers", "initContainers"):
        if len(new.get(group) or ()) != len(old.get(group) or ()):
            return [*errors, path.child(group).forbidden("pod updates may not add or remove containers")]
    deadline, stop = _validate_deadline(new, old, path.child("activeDeadlineSeconds"))
    errors += deadline
    if stop:
        return errors
    errors += _validate_tolerations(new, old, path.child("tolerations"))
    errors += _validate_gates(new, old, path.child("schedulingGates"))
    if new == old:
        return errors
    munged = _munge(new, old)
    if munged != old:
        diff = "\n".join(describe_changes(munged, old, "spec"))
        errors.append(path.forbidden(f"pod updates may not change fields other than {_UPDATABLE}\n{diff}"))
    return errors


def _validate_deadline(new: Object, old: Object, path: Path) -> tuple[list[FieldError], bool]:
    value, before = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if value is None:
        detail = "must not update from a positive integer to nil value"
        return ([] if before is None else [path.invalid(None, detail)]), False
    errors = in_range(path, value, 0, 2**31 - 1)
    if not errors and before is not None and before < value:
        errors = [path.invalid(value, "must be less than or equal to previous value")]
    return errors, bool(errors)


def _validate_tolerations(new: Object, old: Object, path: Path) -> list[FieldError]:
    """All old ones are still there; only ``tolerationSeconds`` of one may differ."""
    tolerations = new.get("tolerations") or []

    def identity(toleration: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(toleration.get(name) or "" for name in ("key", "operator", "value", "effect"))

    present = {identity(toleration) for toleration in tolerations}
    for toleration in old.get("tolerations") or ():
        if identity(toleration) not in present:
            return [path.forbidden("existing toleration can not be modified except its tolerationSeconds")]
    return []


def _validate_gates(new: Object, old: Object, path: Path) -> list[FieldError]:
    known = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    return [
        path.index(index).forbidden(f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'")
        for index, gate in enumerate(new.get("schedulingGates") or ())
        if gate.get("name") not in known
    ]


def _munge(new: Object, old: Object) -> Object:
    """The new spec with everything that may change set back to the old one."""
    munged = copy.deepcopy(new)
    for group in ("containers", "initContainers"):
        for container, before in zip(munged.get(group) or (), old.get(group) or (), strict=True):
            container["image"] = before.get("image")
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        if name in old:
            munged[name] = old[name]
        else:
            munged.pop(name, None)
    grace = "terminationGracePeriodSeconds"
    if (old.get(grace) or 0) < 0 and munged.get(grace) == 1:
        munged[grace] = old[grace]
    if old.get("schedulingGates"):
        _munge_gated(munged, old)
    return munged


def _munge_gated(munged: Object, old: Object) -> None:
    """A gated pod may still be steered: additions to its node selector are allowed."""
    selector, before = munged.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if all(selector.get(key) == value for key, value in before.items()):
        if "nodeSelector" in old:
            munged["nodeSelector"] = old["nodeSelector"]
        else:
            munged.pop("nodeSelector", None)


def _show(value: Any) -> str:
    return go_quote(value) if isinstance(value, str) else str(value)


def describe_changes(new: Any, old: Any, path: str) -> Iterator[str]:
    """Changed leaves as ``-`` and ``+`` lines.  Kubernetes prints Go's own diff here, which is not stable either."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in sorted({*new, *old}):
            if new.get(key) != old.get(key):
                yield from describe_changes(new.get(key), old.get(key), f"{path}.{key}")
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for index, (child, before) in enumerate(zip(new, old, strict=True)):
            if child != before:
                yield from describe_changes(child, before, f"{path}[{index}]")
    else:
        if old is not None:
            yield f"- \t{path}: {_show(old)}"
        if new is not None:
            yield f"+ \t{path}: {_show(new)}"
