"""Kinds of lasting storage: claims, volumes and their classes; with their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from podhost.api.columns import AGE, NAME, Column, format_age_of
from podhost.api.defaulting import round_amounts, round_resources
from podhost.api.kind import Kind, status_subresource
from podhost.api.objects import Object, ensure_section, section
from podhost.api.strategies import keep_status
from podhost.api.validation import persistent_volumes, storage

PVC_FINALIZER, PV_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
DEFAULT_CLASS_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS_ANNOTATIONS = (DEFAULT_CLASS_ANNOTATION, "storageclass.beta.kubernetes.io/is-default-class")


def prepare_claim_create(claim: Object) -> None:
    claim["status"] = {"phase": "Pending"}
    spec = claim.get("spec") or {}
    if not (spec.get("dataSourceRef") or {}).get("namespace"):
        _copy_source(spec, ("dataSource", "dataSourceRef"))


def prepare_claim_update(claim: Object, old: Object) -> None:
    keep_status(claim, old)
    # Who knows one of the fields only does not take the other away.
    before = old.get("spec") or {}
    _copy_source(claim.get("spec") or {}, [name for name in ("dataSource", "dataSourceRef") if before.get(name)])


def _copy_source(spec: Object, names: Collection[str]) -> None:
    """What a volume begins with stands in two fields, an older and a newer one: where one is, so is the other."""
    given = spec.get("dataSource") or spec.get("dataSourceRef") or {}
    source = {key: given[key] for key in ("apiGroup", "kind", "name") if key in given}
    for name in names if source else ():
        spec[name] = spec.get(name) or dict(source)


def prepare_volume_create(volume: Object) -> None:
    volume["status"] = {"phase": "Pending"}


def default_claim(claim: Object) -> None:
    spec = ensure_section(claim, "spec")
    spec.setdefault("volumeMode", "Filesystem")
    round_resources(spec.get("resources"))


def default_volume(volume: Object) -> None:
    spec = ensure_section(volume, "spec")
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    spec.setdefault("volumeMode", "Filesystem")
    round_amounts(spec.get("capacity"))
    if spec.get("hostPath") is not None:
        spec["hostPath"].setdefault("type", "")


def default_class(storage_class: Object) -> None:
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


def is_default_class(storage_class: Mapping[str, Any]) -> bool:
    annotations = section(storage_class, "metadata").get("annotations") or {}
    return any(annotations.get(name) == "true" for name in _DEFAULT_CLASS_ANNOTATIONS)


def find_default_class(classes: Iterable[Mapping[str, Any]]) -> str | None:
    """Name of the default class: of several the newest, and of those made at once the first by name."""
    defaults = sorted(filter(is_default_class, classes), key=lambda each: str(each["metadata"]["name"]))
    newest = max(defaults, key=lambda each: str(each["metadata"].get("creationTimestamp") or ""), default=None)
    return None if newest is None else str(newest["metadata"]["name"])


def format_modes(modes: Any) -> str:
    """``RWO,ROX`` in Kubernetes' order."""
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _class_of(obj: Object, spec: Mapping[str, Any]) -> str:
    """The annotation of old times counts first."""
    annotations = section(obj, "metadata").get("annotations") or {}
    return str(annotations.get(_BETA_CLASS, spec.get("storageClassName") or ""))


def _or_unset(value: Any) -> Any:
    return "<unset>" if value is None else value


def claim_row(claim: Object, now: datetime) -> list[Any]:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    phase = "Terminating" if "deletionTimestamp" in section(claim, "metadata") else status.get("phase") or ""
    bound = bool(spec.get("volumeName"))
    return [
        section(claim, "metadata").get("name") or "",
        phase,
        spec.get("volumeName") or "",
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        format_modes(status.get("accessModes")) if bound else "",
        _class_of(claim, spec),
        _or_unset(spec.get("volumeAttributesClassName")),
        format_age_of(claim, now),
        _or_unset(spec.get("volumeMode")),
    ]


def volume_row(volume: Object, now: datetime) -> list[Any]:
    spec, status = volume.get("spec") or {}, volume.get("status") or {}
    ref = spec.get("claimRef")
    phase = "Terminating" if "deletionTimestamp" in section(volume, "metadata") else status.get("phase") or ""
    return [
        section(volume, "metadata").get("name") or "",
        (spec.get("capacity") or {}).get("storage", "0"),
        format_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        phase,
        f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else "",
        _class_of(volume, spec),
        _or_unset(spec.get("volumeAttributesClassName")),
        status.get("reason") or "",
        format_age_of(volume, now),
        _or_unset(spec.get("volumeMode")),
    ]


def class_row(storage_class: Object, now: datetime) -> list[Any]:
    name = section(storage_class, "metadata").get("name") or ""
    return [
        f"{name} (default)" if is_default_class(storage_class) else name,
        storage_class.get("provisioner") or "",
        storage_class.get("reclaimPolicy") or "Delete",
        storage_class.get("volumeBindingMode") or "Immediate",
        bool(storage_class.get("allowVolumeExpansion")),
        format_age_of(storage_class, now),
    ]


PERSISTENT_VOLUME_CLAIM = Kind(
    kind="PersistentVolumeClaim",
    version="v1",
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    schema="io.k8s.api.core.v1.PersistentVolumeClaim",
    short_names=("pvc",),
    subresources=(status_subresource("PersistentVolumeClaim"),),
    default=default_claim,
    prepare_create=prepare_claim_create,
    prepare_update=prepare_claim_update,
    validate_create=storage.validate_claim,
    validate_update=storage.validate_claim_update,
    columns=(
        NAME,
        Column("Status", field="core.v1.PersistentVolumeClaimStatus.phase"),
        Column("Volume", field="core.v1.PersistentVolumeClaimSpec.volumeName"),
        Column("Capacity", field="core.v1.PersistentVolumeClaimStatus.capacity"),
        Column("Access Modes", field="core.v1.PersistentVolumeClaimStatus.accessModes"),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE,
        Column("VolumeMode", field="core.v1.PersistentVolumeClaimSpec.volumeMode", priority=1),
    ),
    row=claim_row,
)
PERSISTENT_VOLUME = Kind(
    kind="PersistentVolume",
    version="v1",
    plural="persistentvolumes",
    singular="persistentvolume",
    schema="io.k8s.api.core.v1.PersistentVolume",
    short_names=("pv",),
    namespaced=False,
    subresources=(status_subresource("PersistentVolume"),),
    default=default_volume,
    prepare_create=prepare_volume_create,
    prepare_update=keep_status,
    validate_create=persistent_volumes.validate_volume,
    validate_update=persistent_volumes.validate_volume_update,
    columns=(
        NAME,
        Column("Capacity", field="core.v1.PersistentVolumeSpec.capacity"),
        Column("Access Modes", field="core.v1.PersistentVolumeSpec.accessModes"),
        Column("Reclaim Policy", field="core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy"),
        Column("Status", field="core.v1.PersistentVolumeStatus.phase"),
        Column("Claim", field="core.v1.PersistentVolumeSpec.claimRef"),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", field="core.v1.PersistentVolumeStatus.reason"),
        AGE,
        Column("VolumeMode", field="core.v1.PersistentVolumeSpec.volumeMode", priority=1),
    ),
    row=volume_row,
)
STORAGE_CLASS = Kind(
    kind="StorageClass",
    group="storage.k8s.io",
    version="v1",
    plural="storageclasses",
    singular="storageclass",
    schema="io.k8s.api.storage.v1.StorageClass",
    short_names=("sc",),
    namespaced=False,
    default=default_class,
    validate_create=storage.validate_class,
    validate_update=storage.validate_class_update,
    columns=(
        NAME,
        Column("Provisioner", field="storage.v1.StorageClass.provisioner"),
        Column("ReclaimPolicy", field="storage.v1.StorageClass.reclaimPolicy"),
        Column("VolumeBindingMode", field="storage.v1.StorageClass.volumeBindingMode"),
        Column("AllowVolumeExpansion", field="storage.v1.StorageClass.allowVolumeExpansion"),
        AGE,
    ),
    row=class_row,
)
STORAGE_KINDS = (PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME, STORAGE_CLASS)
