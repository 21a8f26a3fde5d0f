"""What admission adds to a new PersistentVolumeClaim or PersistentVolume.  Nobody manages it: nobody asked for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from podhost.api import errors
from podhost.api.quantity import parse_quantity
from podhost.api.storage_kinds import PV_FINALIZER, PVC_FINALIZER, find_default_class

_CLAIMS = "persistentvolumeclaims"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def check_growth(new: Mapping[str, Any], old: Mapping[str, Any], classes: Iterable[Mapping[str, Any]]) -> None:
    """A claim may ask for more where its class says so.

    Raises:
        ApiError: Forbidden.
    """
    name = new["metadata"]["name"]
    try:
        wanted, had = (parse_quantity(each["spec"]["resources"]["requests"]["storage"]) for each in (new, old))
    except (KeyError, TypeError, ValueError):
        return  # Validation says what is wrong.
    if wanted <= had:
        return
    if (old.get("status") or {}).get("phase") != "Bound":
        raise errors.forbidden(_CLAIMS, name, "Only bound persistent volume claims can be expanded")
    of = old["spec"].get("storageClassName")
    storage_class = next((each for each in classes if each["metadata"]["name"] == of), None)
    if storage_class is None or not storage_class.get("allowVolumeExpansion"):
        text = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
            "support resize"
        )
        raise errors.forbidden(_CLAIMS, name, text)


def protect_storage(obj: dict[str, Any]) -> None:
    """What is deleted stays while it is used."""
    finalizer = PVC_FINALIZER if obj["kind"] == "PersistentVolumeClaim" else PV_FINALIZER
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def admit_claim(claim: dict[str, Any], classes: Iterable[Mapping[str, Any]]) -> None:
    """A claim that names no class has the default one."""
    spec = claim.get("spec")
    if not isinstance(spec, dict) or spec.get("storageClassName") is not None:
        return
    if _BETA_CLASS in (claim["metadata"].get("annotations") or {}):
        return
    if default := find_default_class(classes):
        spec["storageClassName"] = default
