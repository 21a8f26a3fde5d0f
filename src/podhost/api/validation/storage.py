"""Claims, volumes and storage classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.quantity import canonical, parse_quantity
from podhost.api.validation.metadata import immutable, invalid_all, one_of, validate_label_selector
from podhost.api.validation.pod_changes import describe_changes

_SPEC = Path("spec")
_ACCESS_MODES = frozenset({"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"})
_VOLUME_MODES = frozenset({"Block", "Filesystem"})
_RECLAIM = frozenset({"Delete", "Recycle", "Retain"})
_CLASS_RECLAIM = frozenset({"Delete", "Retain"})
_BINDING = frozenset({"Immediate", "WaitForFirstConsumer"})
_NOT_A_SOURCE = frozenset(
    {
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
        "storageClassName", "volumeAttributesClassName", "volumeMode",
    }
)  # fmt: skip


def _validate_modes(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [path.child("accessModes").required("at least 1 access mode is required")]
    at = path.child("accessModes")
    errors = [at.not_supported(mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        errors.append(path.child("accessModes").forbidden("may not use ReadWriteOncePod with other access modes"))
    return errors


def _validate_size(value: Any, path: Path) -> list[FieldError]:
    amount = parse_quantity(value)
    if amount <= 0:
        return [path.invalid(canonical(value), "must be greater than zero")]
    return []


def _validate_class_name(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    name = spec.get("storageClassName") or ""
    return invalid_all(path.child("storageClassName"), name, names.check_dns_subdomain(name)) if name else []


def _validate_mode(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    mode = spec.get("volumeMode")
    return (
        [] if mode is None or mode in _VOLUME_MODES else [path.child("volumeMode").not_supported(mode, _VOLUME_MODES)]
    )


def validate_claim_spec(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    """Of a claim, or of a pod's template of one."""
    errors = _validate_modes(spec, path)
    if spec.get("selector") is not None:
        errors += validate_label_selector(spec["selector"], path.child("selector"))
    at = path.child("resources")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        errors.append(at.key("storage").required())
    else:
        errors += _validate_size(size, at.key("storage"))
    return errors + _validate_class_name(spec, path) + _validate_mode(spec, path)


def validate_claim(claim: Object) -> list[FieldError]:
    return validate_claim_spec(claim.get("spec") or {}, _SPEC)


def validate_claim_update(new: Object, old: Object) -> list[FieldError]:
    """Of a claim that is bound nothing may change but its size, upwards."""
    errors = validate_claim(new)
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    size, former = _size_of(spec), _size_of(before)
    bound = (old.get("status") or {}).get("phase") == "Bound"
    held = ((old.get("status") or {}).get("capacity") or {}).get("storage", 0)
    is_less = former is not None and size is not None and parse_quantity(size) < parse_quantity(former)
    # What could not be had yet may be given up, but no volume becomes smaller.
    if is_less and bound and parse_quantity(size) <= parse_quantity(held):
        text = "field can not be less than status.capacity"
        errors.append(_SPEC.child("resources", "requests", "storage").forbidden(text))
    if not before.get("volumeName") and spec.get("volumeName"):
        spec["volumeName"] = before.get("volumeName") or spec["volumeName"]
        before["volumeName"] = spec["volumeName"]
    if before.get("storageClassName") is None and spec.get("storageClassName"):
        before["storageClassName"] = spec["storageClassName"]
    if bound:
        spec["resources"] = before.get("resources")
    if spec != before:
        diff = "\n".join(describe_changes(spec, before, "spec"))
        what = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        errors.append(_SPEC.forbidden(f"{what}\n{diff}"))
    return errors


def _size_of(spec: Mapping[str, Any]) -> Any:
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


def validate_volume(volume: Object) -> list[FieldError]:
    spec = volume.get("spec") or {}
    errors = _validate_modes(spec, _SPEC)
    capacity = spec.get("capacity") or {}
    if not capacity:
        errors.append(_SPEC.child("capacity").required())
    elif set(capacity) != {"storage"}:
        errors.append(_SPEC.child("capacity").not_supported(capacity, ("storage",)))
    else:
        errors += _validate_size(capacity["storage"], _SPEC.child("capacity").key("storage"))
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _RECLAIM:
        errors.append(_SPEC.child("persistentVolumeReclaimPolicy").not_supported(policy, _RECLAIM))
    return errors + _validate_source(spec) + _validate_class_name(spec, _SPEC) + _validate_mode(spec, _SPEC)


def _validate_source(spec: Mapping[str, Any]) -> list[FieldError]:
    sources = [name for name, value in spec.items() if name not in _NOT_A_SOURCE and value is not None]
    if not sources:
        return [_SPEC.required("must specify a volume type")]
    errors = [_SPEC.child(name).forbidden("may not specify more than 1 volume type") for name in sources[1:]]
    for name in ("hostPath", "local"):
        if name in sources:
            at, path = _SPEC.child(name, "path"), (spec[name].get("path") or "")
            if not path:
                errors.append(at.required())
            elif ".." in path.split("/"):
                errors.append(at.invalid(path, "must not contain '..'"))
    if "local" in sources and not (spec.get("nodeAffinity") or {}).get("required"):
        errors.append(Path("metadata").child("annotations").required("Local volume requires node affinity"))
    if (
        spec.get("hostPath")
        and spec["hostPath"].get("path") == "/"
        and (spec.get("persistentVolumeReclaimPolicy") == "Recycle")
    ):
        text = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(_SPEC.child("persistentVolumeReclaimPolicy").forbidden(text))
    return errors


def validate_volume_update(new: Object, old: Object) -> list[FieldError]:
    errors = validate_volume(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    sources = {
        which: {name: value for name, value in each.items() if name not in _NOT_A_SOURCE}
        for which, each in (("new", spec), ("old", before))
    }
    if sources["new"] != sources["old"]:
        diff = "\n".join(describe_changes(sources["new"], sources["old"], "spec.persistentvolumesource"))
        text = f"spec.persistentvolumesource is immutable after creation\n{diff}"
        errors.append(_SPEC.child("persistentvolumesource").forbidden(text))
    return errors + immutable(_SPEC.child("volumeMode"), spec.get("volumeMode"), before.get("volumeMode"))


def validate_class(storage_class: Object) -> list[FieldError]:
    provisioner = storage_class.get("provisioner") or ""
    errors = [] if provisioner else [Path("provisioner").required()]
    if provisioner:
        messages = names.check_qualified_name(provisioner.lower())
        errors += invalid_all(Path("provisioner"), provisioner, messages)
    errors += one_of(Path("reclaimPolicy"), storage_class.get("reclaimPolicy"), _CLASS_RECLAIM)
    return errors + one_of(Path("volumeBindingMode"), storage_class.get("volumeBindingMode"), _BINDING)


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
