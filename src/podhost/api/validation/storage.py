"""Claims, volumes and storage classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.quantity import canonical, parse_quantity
from podhost.api.validation.metadata import immutable, invalid_all, one_of, validate_label_selector
from podhost.api.validation.pod_changes import describe_changes

_SPEC = Path("spec")
_MAX_PARAMETERS, _MAX_PARAMETER_BYTES = 512, 256 << 10
_ACCESS_MODES = frozenset({"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"})
_VOLUME_MODES = frozenset({"Block", "Filesystem"})
_CLASS_RECLAIM = frozenset({"Delete", "Retain"})
_BINDING = frozenset({"Immediate", "WaitForFirstConsumer"})


def validate_modes(spec: Mapping[str, Any], path: Path, *, missing: str = "") -> list[FieldError]:
    """``accessModes``; ``missing`` is said of none."""
    modes = spec.get("accessModes") or []
    if not modes:
        return [path.child("accessModes").required(missing)]
    at = path.child("accessModes")
    errors = [at.not_supported(mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        errors.append(path.child("accessModes").forbidden("may not use ReadWriteOncePod with other access modes"))
    return errors


def validate_size(value: Any, path: Path) -> list[FieldError]:
    amount = parse_quantity(value)
    if amount <= 0:
        return [path.invalid(canonical(value), "must be greater than zero")]
    return []


def validate_class_name(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    name = spec.get("storageClassName") or ""
    return invalid_all(path.child("storageClassName"), name, names.check_dns_subdomain(name)) if name else []


def validate_mode(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    mode = spec.get("volumeMode")
    return (
        [] if mode is None or mode in _VOLUME_MODES else [path.child("volumeMode").not_supported(mode, _VOLUME_MODES)]
    )


def validate_claim_spec(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    """Of a claim, or of a pod's template of one."""
    errors = validate_modes(spec, path, missing="at least 1 access mode is required")
    if spec.get("selector") is not None:
        errors += validate_label_selector(spec["selector"], path.child("selector"))
    at = path.child("resources")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        errors.append(at.key("storage").required())
    else:
        errors += validate_size(size, at.key("storage"))
    errors += validate_class_name(spec, path) + validate_mode(spec, path)
    if name := spec.get("volumeAttributesClassName"):
        errors += invalid_all(path.child("volumeAttributesClassName"), name, names.check_dns_subdomain(name))
    return errors + _validate_sources(spec, path)


def _validate_sources(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    errors = []
    for name, source in (("dataSource", old), ("dataSourceRef", new)):
        errors += _validate_source(source, path.child(name)) if source is not None else []
    if old is None or new is None:
        return errors
    # Their server shows the path in place of the value, and has no text for it.
    if new.get("namespace"):
        return [*errors, path.invalid({}, "may not be specified when dataSourceRef.namespace is specified")]
    if any(old.get(key) != new.get(key) for key in ("apiGroup", "kind", "name")):
        errors.append(path.invalid({}, "must match dataSourceRef"))
    return errors


def _validate_source(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [path.child(name).required() for name in ("name", "kind") if not source.get(name)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if group:
        return errors + invalid_all(path.child("apiGroup"), group, names.check_dns_subdomain(group))
    if kind != "PersistentVolumeClaim":
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(path.invalid(kind, text))
    return errors


def validate_claim(claim: Object) -> list[FieldError]:
    return validate_claim_spec(claim.get("spec") or {}, _SPEC)


def validate_claim_update(new: Object, old: Object) -> list[FieldError]:
    """Of a claim that is bound nothing may change but its size and its class of attributes."""
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    errors = validate_claim(new) + _validate_spec_kept(spec, before, bound=_is_bound(old))
    size, former = _size_of(spec), _size_of(before)
    if size is not None and former is not None and parse_quantity(size) < parse_quantity(former):
        given = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
        # What could not be had yet may be given up, but no volume becomes smaller.
        if parse_quantity(size) <= parse_quantity(given):
            text = "field can not be less than status.capacity"
            errors.append(_SPEC.child("resources", "requests", "storage").forbidden(text))
    errors += immutable(Path("volumeMode"), spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("volumeAttributesClassName") and not spec.get("volumeAttributesClassName"):
        what = "nil" if spec.get("volumeAttributesClassName") is None else "an empty string"
        text = f"update from non-nil value to {what} is forbidden"
        errors.append(_SPEC.child("volumeAttributesClassName").forbidden(text))
    return errors


def _is_bound(claim: Object) -> bool:
    return (claim.get("status") or {}).get("phase") == "Bound"


def _validate_spec_kept(spec: Object, old_spec: Object, *, bound: bool) -> list[FieldError]:
    wanted, before = dict(spec), dict(old_spec)
    if not before.get("volumeName") and wanted.get("volumeName"):
        before["volumeName"] = wanted["volumeName"]
    if before.get("storageClassName") is None and wanted.get("storageClassName"):
        before["storageClassName"] = wanted["storageClassName"]
    if bound:
        wanted["resources"] = before.get("resources")
    for each in (wanted, before):
        each.pop("volumeAttributesClassName", None)
    if wanted == before:
        return []
    diff = "\n".join(describe_changes(wanted, before, "spec"))
    what = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
    return [_SPEC.forbidden(f"{what}\n{diff}")]


def _size_of(spec: Mapping[str, Any]) -> Any:
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


def validate_class(storage_class: Object) -> list[FieldError]:
    provisioner = storage_class.get("provisioner") or ""
    errors = [] if provisioner else [Path("provisioner").required()]
    if provisioner:
        messages = names.check_qualified_name(provisioner.lower())
        errors += invalid_all(Path("provisioner"), provisioner, messages)
    errors += _validate_parameters(storage_class.get("parameters") or {}, Path("parameters"))
    errors += one_of(Path("reclaimPolicy"), storage_class.get("reclaimPolicy"), _CLASS_RECLAIM)
    errors += one_of(Path("volumeBindingMode"), storage_class.get("volumeBindingMode"), _BINDING)
    return errors + _validate_topologies(storage_class.get("allowedTopologies") or (), Path("allowedTopologies"))


def _validate_parameters(parameters: Mapping[str, str], path: Path) -> list[FieldError]:
    if len(parameters) > _MAX_PARAMETERS:
        return [path.too_long(_MAX_PARAMETERS)]
    errors = [path.invalid(key, "field can not be empty.") for key in parameters if not key]
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _MAX_PARAMETER_BYTES:
        errors.append(path.too_long(_MAX_PARAMETER_BYTES))
    return errors


def _validate_topologies(terms: Sequence[Mapping[str, Any]], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: list[dict[str, set[str]]] = []
    for index, term in enumerate(terms):
        at = path.index(index).child("matchLabelExpressions")
        found: dict[str, set[str]] = {}
        for number, expression in enumerate(term.get("matchLabelExpressions") or ()):
            key = expression.get("key") or ""
            errors += _validate_topology_values(expression.get("values") or (), at.index(number).child("values"))
            errors += invalid_all(at.index(number).child("key"), key, names.check_qualified_name(key))
            if key in found:
                errors.append(at.index(number).child("key").duplicate(key))
            found[key] = set(expression.get("values") or ())
        errors += [at.duplicate("") for other in seen if other == found]
        seen.append(found)
    return errors


def _validate_topology_values(values: Sequence[str], path: Path) -> list[FieldError]:
    errors = [] if values else [path.required()]
    return errors + [path.index(at).duplicate(value) for at, value in enumerate(values) if value in values[:at]]


def validate_class_update(new: Object, old: Object) -> list[FieldError]:
    errors = validate_class(new)
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        errors.append(Path("parameters").forbidden("updates to parameters are forbidden."))
    if new.get("provisioner") != old.get("provisioner"):
        errors.append(Path("provisioner").forbidden("updates to provisioner are forbidden."))
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        errors.append(Path("reclaimPolicy").forbidden("updates to reclaimPolicy are forbidden."))
    binding = Path("volumeBindingMode")
    return errors + immutable(binding, new.get("volumeBindingMode"), old.get("volumeBindingMode"))
