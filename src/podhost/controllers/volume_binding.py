"""Which volume a claim gets, and what becomes of both.  Pure.

::

    claim:   Pending ──a volume fits, or one is made──▶ Bound ──its volume has gone──▶ Lost
    volume:  Available ──a claim is bound to it──▶ Bound ──its claim has gone──▶ Released ──Delete──▶ gone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podhost.api.quantity import parse_quantity

Doc = Mapping[str, Any]
Obj = dict[str, Any]

PROVISIONER = "podhost.dev/local"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
NO_CLASS = "no persistent volumes available for this claim and no storage class is set"
WAIT = "waiting for first consumer to be created before binding"


@dataclass(frozen=True, slots=True)
class Bind:
    """To a volume that is there."""

    volume: Doc


@dataclass(frozen=True, slots=True)
class Provision:
    """Make a volume of the class."""

    storage_class: Doc


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now; the event says why."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def decide_claim(claim: Doc, volumes: Sequence[Doc], storage_class: Doc | None) -> Bind | Provision | Wait:
    """The next step of a claim that is not bound.  ``storage_class`` is that of its name, if there is one."""
    spec = claim["spec"]
    name = spec.get("storageClassName") or ""
    if spec.get("volumeName"):
        wanted = next((v for v in volumes if v["metadata"]["name"] == spec["volumeName"]), None)
        if wanted is None:
            return Wait("Warning", "FailedBinding", f'volume "{spec["volumeName"]}" not found.')
        if not _is_free_for(wanted, claim):
            return Wait(
                "Warning", "FailedBinding", f'volume "{spec["volumeName"]}" already bound to a different claim.'
            )
        return Bind(wanted)
    is_delayed = storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    prebound = [v for v in volumes if _claim_of(v) is not None and _is_free_for(v, claim)]
    if prebound:
        return Bind(prebound[0])
    if is_delayed and SELECTED_NODE not in (claim["metadata"].get("annotations") or {}):
        return Wait("Normal", "WaitForFirstConsumer", WAIT)
    found = find_volume(claim, volumes)
    if found is not None:
        return Bind(found)
    if not name:
        return Wait("Normal", "FailedBinding", NO_CLASS)
    if storage_class is None:
        return Wait("Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')
    if storage_class["provisioner"] == PROVISIONER:
        if spec.get("volumeMode") == "Block":
            why = f"volume mode Block is not supported by {PROVISIONER}"
            return Wait(
                "Warning", "ProvisioningFailed", f'failed to provision volume with StorageClass "{name}": {why}'
            )
        return Provision(storage_class)
    if storage_class["provisioner"] == "kubernetes.io/no-provisioner":
        return Wait("Normal", "FailedBinding", f'no volume of storage class "{name}" fits, and none is made for it')
    return Wait(
        "Normal",
        "ExternalProvisioning",
        f"Waiting for a volume to be created either by the external provisioner '{storage_class['provisioner']}' or "
        "manually by the system administrator. If volume creation is delayed, please verify that the provisioner is "
        "running and correctly registered.",
    )


def find_volume(claim: Doc, volumes: Iterable[Doc]) -> Doc | None:
    """The smallest free volume that has what the claim asks for."""
    fitting = [volume for volume in volumes if _claim_of(volume) is None and _fits(claim["spec"], volume)]
    return min(fitting, key=lambda v: (_size_of(v), v["metadata"]["name"]), default=None)


def _fits(spec: Doc, volume: Doc) -> bool:
    given = volume["spec"]
    if "deletionTimestamp" in volume["metadata"]:
        return False
    if (given.get("storageClassName") or "") != (spec.get("storageClassName") or ""):
        return False
    if (given.get("volumeMode") or "Filesystem") != (spec.get("volumeMode") or "Filesystem"):
        return False
    if not set(spec.get("accessModes") or ()) <= set(given.get("accessModes") or ()):
        return False
    if not _matches(spec.get("selector") or {}, volume["metadata"].get("labels") or {}):
        return False
    return bool(_size_of(volume) >= parse_quantity(requested_size(spec)))


def _matches(selector: Doc, labels: Mapping[str, str]) -> bool:
    """Of a LabelSelector; an empty one matches everything."""
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, labels.get(each["key"])) for each in selector.get("matchExpressions") or ())


def _holds(expression: Doc, value: str | None) -> bool:
    wanted = expression.get("values") or ()
    return {
        "In": value in wanted,
        "NotIn": value not in wanted,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]


def requested_size(spec: Doc) -> str:
    """What a claim asks for."""
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _size_of(volume: Doc) -> Any:
    return parse_quantity((volume["spec"].get("capacity") or {}).get("storage", "0"))


def _claim_of(volume: Doc) -> Doc | None:
    ref: Doc | None = volume["spec"].get("claimRef")
    return ref


def _is_free_for(volume: Doc, claim: Doc) -> bool:
    ref = _claim_of(volume)
    if ref is None:
        return True
    meta = claim["metadata"]
    same = (ref.get("namespace"), ref.get("name")) == (meta["namespace"], meta["name"])
    return same and ref.get("uid") in (None, "", meta["uid"])


def build_claim_ref(claim: Doc) -> Obj:
    meta = claim["metadata"]
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
    }


def build_volume(claim: Doc, storage_class: Doc, path: str, node_name: str) -> Obj:
    """The volume that is made for a claim: a directory of this node."""
    spec = claim["spec"]
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node_name]}]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": ["kubernetes.io/pv-protection"],
        },
        "spec": {
            "capacity": {"storage": requested_size(spec)},
            "accessModes": list(spec.get("accessModes") or ()),
            "claimRef": build_claim_ref(claim),
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": spec.get("volumeMode") or "Filesystem",
        },
        "status": {"phase": "Pending"},
    }


def volume_name(claim: Doc) -> str:
    """``pvc-<uid of the claim>``."""
    return f"pvc-{claim['metadata']['uid']}"


def with_claim(volume: Doc, claim: Doc) -> Obj:
    """The volume, bound to the claim."""
    ref = _claim_of(volume)
    annotations = dict(volume["metadata"].get("annotations") or {})
    if ref is None:
        annotations[BOUND_BY_CONTROLLER] = "yes"
    metadata = {**volume["metadata"], "annotations": annotations} if annotations else volume["metadata"]
    bound_ref = ref if ref is not None and ref.get("uid") else build_claim_ref(claim)
    status = {**(volume.get("status") or {}), "phase": "Bound"}
    return {**volume, "metadata": metadata, "spec": {**volume["spec"], "claimRef": bound_ref}, "status": status}


def with_volume(claim: Doc, volume: Doc) -> Obj:
    """The claim, bound to the volume."""
    annotations = {**(claim["metadata"].get("annotations") or {}), BIND_COMPLETED: "yes"}
    if not claim["spec"].get("volumeName"):
        annotations[BOUND_BY_CONTROLLER] = "yes"
    status = {
        **(claim.get("status") or {}),
        "phase": "Bound",
        "accessModes": list(volume["spec"].get("accessModes") or ()),
        "capacity": dict(volume["spec"].get("capacity") or {}),
    }
    return {
        **claim,
        "metadata": {**claim["metadata"], "annotations": annotations},
        "spec": {**claim["spec"], "volumeName": volume["metadata"]["name"]},
        "status": status,
    }


def claims_of_pod(pod: Doc) -> list[tuple[str, str]]:
    """(volume, claim) of the pod's spec; an ephemeral volume's claim has a name made of both."""
    found = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim") is not None:
            found.append((volume["name"], volume["persistentVolumeClaim"].get("claimName") or ""))
        elif volume.get("ephemeral") is not None:
            found.append((volume["name"], f"{pod['metadata']['name']}-{volume['name']}"))
    return found
