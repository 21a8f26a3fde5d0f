"""PersistentVolumes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.metadata import immutable, invalid_all
from podhost.api.validation.paths import validate_no_backsteps
from podhost.api.validation.pod_changes import describe_changes
from podhost.api.validation.scheduling import validate_node_selector
from podhost.api.validation.storage import validate_class_name, validate_mode, validate_modes, validate_size
from podhost.api.validation.volumes import SOURCES

_SPEC = Path("spec")
_RECLAIM = frozenset({"Delete", "Recycle", "Retain"})
_SOURCE_ORDER = (
    *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte"),
    *("cephfs", "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk"),
    *("portworxVolume", "azureDisk", "scaleIO", "local", "storageos", "csi"),
)


def validate_volume(volume: Object) -> list[FieldError]:
    spec = volume.get("spec") or {}
    errors = validate_modes(spec, _SPEC) + _validate_capacity(spec.get("capacity") or {})
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _RECLAIM:
        errors.append(_SPEC.child("persistentVolumeReclaimPolicy").not_supported(policy, _RECLAIM))
    errors += _validate_affinity(spec) + _validate_source(spec)
    errors += validate_class_name(spec, _SPEC) + validate_mode(spec, _SPEC)
    return errors + _validate_attributes_class(spec)


def _validate_capacity(capacity: Mapping[str, Any]) -> list[FieldError]:
    at = _SPEC.child("capacity")
    errors = [] if capacity else [at.required()]
    if set(capacity) != {"storage"}:
        errors.append(at.not_supported(capacity or None, ("storage",)))
    for name, value in capacity.items():
        errors += validate_size(value, at.key(name))
    return errors


def _validate_affinity(spec: Mapping[str, Any]) -> list[FieldError]:
    affinity = spec.get("nodeAffinity")
    if affinity is None:
        return []
    at = _SPEC.child("nodeAffinity", "required")
    if affinity.get("required") is None:
        return [at.required("must specify required node constraints")]
    return validate_node_selector(affinity["required"], at)


def _validate_source(spec: Mapping[str, Any]) -> list[FieldError]:
    sources = [name for name in _SOURCE_ORDER if spec.get(name) is not None]
    errors: list[FieldError] = []
    for name in sources:
        if name != sources[0]:
            errors.append(_SPEC.child(name).forbidden("may not specify more than 1 volume type"))
        elif name in _CHECKS:
            errors += _CHECKS[name](spec[name], _SPEC.child(name))
    if sources[:1] == ["local"] and spec.get("nodeAffinity") is None:
        errors.append(_SPEC.child("nodeAffinity").required("Local volume requires node affinity"))
    if not sources:
        errors.append(_SPEC.required("must specify a volume type"))
    root = posixpath.normpath((spec.get("hostPath") or {}).get("path") or ".") in ("/", "//")
    if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(_SPEC.child("persistentVolumeReclaimPolicy").forbidden(text))
    return errors


def _validate_local(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    where, at = source.get("path") or "", path.child("path")
    return validate_no_backsteps(where, at) if where else [at.required()]


def _validate_csi(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    driver = source.get("driver") or ""
    errors = [] if driver else [path.child("driver").required()]
    errors += invalid_all(path.child("driver"), driver, names.check_dns_subdomain(driver.lower()))
    return errors if source.get("volumeHandle") else [*errors, path.child("volumeHandle").required()]


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], Path], list[FieldError]]] = {
    "hostPath": SOURCES["hostPath"],
    "nfs": SOURCES["nfs"],
    "local": _validate_local,
    "csi": _validate_csi,
}


def _validate_attributes_class(spec: Mapping[str, Any]) -> list[FieldError]:
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return []
    at = _SPEC.child("volumeAttributesClassName")
    errors = invalid_all(at, name, names.check_dns_subdomain(name))
    if not name:
        errors = [at.required("an empty string is disallowed")]
    if spec.get("csi") is None:
        errors.append(_SPEC.child("csi").required("has to be specified when using volumeAttributesClassName"))
    return errors


def validate_volume_update(new: Object, old: Object) -> list[FieldError]:
    """Where the data is never changes; the paths are Kubernetes' own."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    errors = validate_volume(new)
    source, old_source = ({name: each[name] for name in _SOURCE_ORDER if name in each} for each in (spec, before))
    if source != old_source:
        diff = "\n".join(describe_changes(source, old_source, "spec.persistentvolumesource"))
        text = f"spec.persistentvolumesource is immutable after creation\n{diff}"
        errors.append(_SPEC.child("persistentvolumesource").forbidden(text))
    errors += immutable(Path("volumeMode"), spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity") is not None:
        errors += immutable(Path("nodeAffinity"), spec.get("nodeAffinity"), before.get("nodeAffinity"))
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        text = "update from non-nil value to nil is forbidden"
        errors.append(_SPEC.child("volumeAttributesClassName").forbidden(text))
    return errors
