"""Kinds of lasting storage: claims, volumes and their classes; with their columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podhost.api.columns import Column
from podhost.api.kind import Kind, status_subresource
from podhost.api.objects import Object, ensure_section
from podhost.api.strategies import keep_status
from podhost.api.time import format_age
from podhost.api.validation import storage

PVC_FINALIZER, PV_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
DEFAULT_CLASS_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_NAME = Column("Name", format="name", description="Name of the object.")
_AGE = Column("Age", description="Time since it was made.")


def prepare_claim_create(claim: Object) -> None:
    claim["status"] = {"phase": "Pending"}


def prepare_volume_create(volume: Object) -> None:
    volume["status"] = {"phase": "Pending"}


def default_claim(claim: Object) -> None:
    ensure_section(claim, "spec").setdefault("volumeMode", "Filesystem")


def default_volume(volume: Object) -> None:
    spec = ensure_section(volume, "spec")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if spec.get("hostPath") is not None:
        spec["hostPath"].setdefault("type", "")


def default_class(storage_class: Object) -> None:
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


def is_default_class(storage_class: Mapping[str, Any]) -> bool:
    annotations = _meta(storage_class).get("annotations") or {}
    return annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"


def format_modes(modes: Any) -> str:
    """``RWO,ROX`` in Kubernetes' order."""
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _meta(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    meta: Mapping[str, Any] = obj.get("metadata") or {}
    return meta


def _age(obj: Object, now: datetime) -> str:
    return format_age(_meta(obj).get("creationTimestamp"), now)


def claim_row(claim: Object, now: datetime) -> list[Any]:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    phase = "Terminating" if "deletionTimestamp" in _meta(claim) else status.get("phase") or ""
    bound = bool(spec.get("volumeName"))
    return [
        _meta(claim).get("name") or "",
        phase,
        spec.get("volumeName") or "",
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        format_modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        _age(claim, now),
        spec.get("volumeMode") or "<unset>",
    ]


def volume_row(volume: Object, now: datetime) -> list[Any]:
    spec, status = volume.get("spec") or {}, volume.get("status") or {}
    ref = spec.get("claimRef")
    phase = "Terminating" if "deletionTimestamp" in _meta(volume) else status.get("phase") or ""
    return [
        _meta(volume).get("name") or "",
        (spec.get("capacity") or {}).get("storage", ""),
        format_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        phase,
        f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason") or "",
        _age(volume, now),
        spec.get("volumeMode") or "<unset>",
    ]


def class_row(storage_class: Object, now: datetime) -> list[Any]:
    name = _meta(storage_class).get("name") or ""
    return [
        f"{name} (default)" if is_default_class(storage_class) else name,
        storage_class.get("provisioner") or "",
        storage_class.get("reclaimPolicy") or "Delete",
        storage_class.get("volumeBindingMode") or "Immediate",
        bool(storage_class.get("allowVolumeExpansion")),
        _age(storage_class, now),
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
    prepare_update=keep_status,
    validate_create=storage.validate_claim,
    validate_update=storage.validate_claim_update,
    columns=(
        _NAME,
        Column("Status", description="Phase of the claim."),
        Column("Volume", description="The volume that it is bound to."),
        Column("Capacity", description="Size of the volume."),
        Column("Access Modes", description="Ways in which the volume can be used."),
        Column("StorageClass", description="Class that the claim asks for."),
        Column("VolumeAttributesClass", description="Class of attributes that the claim asks for."),
        _AGE,
        Column("VolumeMode", description="Filesystem or Block.", priority=1),
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
    validate_create=storage.validate_volume,
    validate_update=storage.validate_volume_update,
    columns=(
        _NAME,
        Column("Capacity", description="Size of the volume."),
        Column("Access Modes", description="Ways in which it can be used."),
        Column("Reclaim Policy", description="What becomes of it when its claim has gone."),
        Column("Status", description="Phase of the volume."),
        Column("Claim", description="The claim that it is bound to."),
        Column("StorageClass", description="Its class."),
        Column("VolumeAttributesClass", description="Its class of attributes."),
        Column("Reason", description="Why it has failed."),
        _AGE,
        Column("VolumeMode", description="Filesystem or Block.", priority=1),
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
        _NAME,
        Column("Provisioner", description="Who makes volumes of the class."),
        Column("ReclaimPolicy", description="What becomes of a volume when its claim has gone."),
        Column("VolumeBindingMode", description="When volumes are made and bound."),
        Column("AllowVolumeExpansion", type="boolean", description="Whether claims may grow."),
        _AGE,
    ),
    row=class_row,
)
STORAGE_KINDS = (PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME, STORAGE_CLASS)
