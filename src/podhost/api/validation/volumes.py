"""Volumes of a pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.quantity import parse_quantity
from podhost.api.validation.downward import validate_field_ref, validate_resource_field_ref
from podhost.api.validation.metadata import invalid_all, validate_annotations, validate_labels
from podhost.api.validation.paths import (
    validate_descending_path,
    validate_mode,
    validate_no_backsteps,
    validate_target_path,
)
from podhost.api.validation.storage import validate_claim_spec
from podhost.api.warnings import rule_for

_HOST_PATH_TYPES = frozenset(
    {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"}
)
_VOLUME_FIELD_PATHS = frozenset(
    {"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
)
_SOURCE_ORDER = (
    *("emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi"),
    *("glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc"),
    *("flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume"),
    *("azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral", "image"),
)

Volumes = dict[str, Object]
"""The valid volumes of a pod, by name."""


def validate_volumes(volumes: list[Object], path: Path) -> tuple[Volumes, list[FieldError]]:
    """Errors, and the volumes that mounts may refer to."""
    errors: list[FieldError] = []
    valid: Volumes = {}
    for index, volume in enumerate(volumes):
        at = path.index(index)
        name = volume.get("name") or ""
        found = _validate_source(volume, at)
        if not name:
            found.append(at.child("name").required())
        else:
            found += invalid_all(at.child("name"), name, names.check_dns_label(name))
        if name in valid:
            found.append(at.child("name").duplicate(name))
        if found:
            errors += found
        else:
            valid[name] = volume
    return valid, errors


def validate_drivers(volumes: list[Object], path: Path) -> list[FieldError]:
    """Volumes of new pods only: pods that were stored before such volumes were refused may still be changed."""
    errors: list[FieldError] = []
    for index, volume in enumerate(volumes):
        for source in _SOURCE_ORDER:
            rule = rule_for("Volume", source)
            if rule is not None and rule.treatment == "rejected" and volume.get(source) is not None:
                errors.append(path.index(index).child(source).forbidden(rule.text))
    return errors


def _validate_source(volume: Object, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen = False
    for source in _SOURCE_ORDER:
        value = volume.get(source)
        if value is None:
            continue
        if seen:
            errors.append(path.child(source).forbidden("may not specify more than 1 volume type"))
            continue
        seen = True
        check = SOURCES.get(source)
        if check is not None:
            errors += check(value, path.child(source))
    if not seen:
        errors.append(path.required("must specify a volume type"))
    return errors


def _validate_empty_dir(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and parse_quantity(limit) < 0:
        return [path.child("sizeLimit").forbidden("SizeLimit field must be a valid resource quantity")]
    return []


def _validate_host_path(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    where = source.get("path") or ""
    if not where:
        return [path.child("path").required()]
    errors = validate_no_backsteps(where, path.child("path"))
    kind = source.get("type") or ""
    if kind not in _HOST_PATH_TYPES:
        errors.append(path.child("type").not_supported(kind, _HOST_PATH_TYPES))
    return errors


def _validate_secret(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [] if source.get("secretName") else [path.child("secretName").required()]
    errors += validate_mode(source.get("defaultMode"), path.child("defaultMode"))
    return errors + _validate_items(source, path)


def _validate_config_map(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [] if source.get("name") else [path.child("name").required()]
    errors += validate_mode(source.get("defaultMode"), path.child("defaultMode"))
    return errors + _validate_items(source, path)


def _validate_items(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    """Kubernetes names the items without their index."""
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        at = path.child("items").index(index)
        if not item.get("key"):
            errors.append(at.child("key").required())
        target = item.get("path") or ""
        if not target:
            errors.append(at.child("path").required())
        errors += validate_target_path(target, at.child("path"))
        errors += validate_mode(item.get("mode"), at.child("mode"))
    return errors


def _validate_downward(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = validate_mode(source.get("defaultMode"), path.child("defaultMode"))
    for item in source.get("items") or ():
        errors += _validate_downward_file(item, path)
    return errors


def _validate_downward_file(item: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = []
    target = item.get("path") or ""
    if not target:
        errors.append(path.child("path").required())
    errors += validate_target_path(target, path.child("path"))
    field_ref, resource_ref = item.get("fieldRef"), item.get("resourceFieldRef")
    if field_ref is not None:
        errors += validate_field_ref(field_ref, path.child("fieldRef"), _VOLUME_FIELD_PATHS)
        if resource_ref is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(path.invalid("resource", detail))
    elif resource_ref is not None:
        errors += validate_resource_field_ref(resource_ref, path.child("resourceFieldRef"), in_volume=True)
    else:
        errors.append(path.required("one of fieldRef and resourceFieldRef is required"))
    return errors + validate_mode(item.get("mode"), path.child("mode"))


_PROJECTION_CHECKS: Mapping[str, Callable[[Mapping[str, Any], Path], list[FieldError]]] = {
    "secret": lambda source, path: (
        ([] if source.get("name") else [path.child("name").required()]) + _validate_items(source, path)
    ),
    "configMap": lambda source, path: (
        ([] if source.get("name") else [path.child("name").required()]) + _validate_items(source, path)
    ),
    "downwardAPI": _validate_downward,
    "serviceAccountToken": lambda source, path: _validate_token(source, path),
}
_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")


def _validate_token(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = []
    seconds, at = source.get("expirationSeconds", 3600), path.child("expirationSeconds")
    if seconds < 600:
        errors.append(at.invalid(seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 1 << 32:
        errors.append(at.invalid(seconds, "may not specify a duration larger than 2^32 seconds"))
    if not source.get("path"):
        errors.append(path.child("path").required())
    return errors + validate_target_path(source.get("path") or "", path.child("path"))


def _validate_projected(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = validate_mode(source.get("defaultMode"), path.child("defaultMode"))
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        at = path.child("sources").index(index)
        kinds = [kind for kind in _PROJECTIONS if projection.get(kind) is not None]
        if not kinds:
            errors.append(at.required("one of: " + ", ".join(_PROJECTIONS)))
        for kind in kinds:
            check = _PROJECTION_CHECKS.get(kind)
            errors += check(projection[kind], at.child(kind)) if check is not None else []
            errors += _find_conflicts(projection[kind], kind, taken, path)
        if len(kinds) > 1:
            errors.append(at.forbidden("may not specify more than 1 volume type"))
    return errors


def _find_conflicts(source: Mapping[str, Any], kind: str, taken: set[str], path: Path) -> list[FieldError]:
    """Files that an earlier source has too; Kubernetes names the object, or for the pod's own fields the file."""
    errors = []
    for item in source.get("items") or ():
        target = item.get("path") or ""
        if target in taken:
            shown = target if kind == "downwardAPI" else source.get("name") or ""
            errors.append(path.invalid(shown, "conflicting duplicate paths"))
        elif target:
            taken.add(target)
    return errors


def _validate_claim(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    return [] if source.get("claimName") else [path.child("claimName").required()]


def _validate_nfs(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [] if source.get("server") else [path.child("server").required()]
    where = source.get("path") or ""
    if not where:
        errors.append(path.child("path").required())
    if not where.startswith("/"):
        errors.append(path.child("path").invalid(where, "must be an absolute path"))
    return errors


def _validate_git_repo(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [] if source.get("repository") else [path.child("repository").required()]
    return errors + validate_descending_path(source.get("directory") or "", path.child("directory"))


def _validate_csi(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    driver = source.get("driver") or ""
    if not driver:
        return [path.child("driver").required()]
    return invalid_all(path.child("driver"), driver, names.check_dns_subdomain(driver.lower()))


def _validate_ephemeral(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [path.child("volumeClaimTemplate").required()]
    errors = _validate_template_metadata(template.get("metadata") or {}, path.child("volumeClaimTemplate", "metadata"))
    return errors + validate_claim_spec(template.get("spec") or {}, path.child("volumeClaimTemplate", "spec"))


def _validate_template_metadata(metadata: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = validate_annotations(metadata.get("annotations") or {}, path.child("annotations"))
    errors += validate_labels(metadata.get("labels") or {}, path.child("labels"))
    others = [name for name, value in metadata.items() if value and name not in ("annotations", "labels")]
    return errors + [path.child(name).forbidden("cannot be set for an ephemeral volume") for name in others]


def _validate_image(source: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [] if source.get("reference") else [path.child("reference").required()]
    policies = frozenset({"Always", "IfNotPresent", "Never"})
    policy = source.get("pullPolicy") or ""
    if policy not in policies:
        errors.append(path.child("pullPolicy").not_supported(policy, policies))
    return errors


SOURCES: Mapping[str, Callable[[Mapping[str, Any], Path], list[FieldError]]] = {
    "emptyDir": _validate_empty_dir,
    "hostPath": _validate_host_path,
    "secret": _validate_secret,
    "configMap": _validate_config_map,
    "downwardAPI": _validate_downward,
    "projected": _validate_projected,
    "persistentVolumeClaim": _validate_claim,
    "nfs": _validate_nfs,
    "gitRepo": _validate_git_repo,
    "csi": _validate_csi,
    "ephemeral": _validate_ephemeral,
    "image": _validate_image,
}
