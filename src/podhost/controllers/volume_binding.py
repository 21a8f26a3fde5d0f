"""Which volume a claim gets, and what becomes of both.  Pure.

::

    claim:   Pending ──a volume fits, or one is made──▶ Bound ──its volume has gone──▶ Lost ──it is there again──▶ Bound
    volume:  Available ──a claim is bound to it──▶ Bound ──its claim has gone──▶ Released ──Delete──▶ gone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podhost.api.quantity import parse_quantity
from podhost.api.selectors import from_label_selector
from podhost.api.storage_kinds import PV_FINALIZER

Doc = Mapping[str, Any]
Obj = dict[str, Any]

PROVISIONER = "podhost.dev/local"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
CHOSEN_PROVISIONER = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
"""Of a claim: provisioners take up only those that name them."""
NO_CLASS = "no persistent volumes available for this claim and no storage class is set"
EXTERNAL_PROVISIONING = "ExternalProvisioning"
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
    if spec.get("volumeName"):
        return _decide_named(claim, volumes)
    is_delayed = storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    prebound = [v for v in volumes if _claim_of(v) is not None and _is_free_for(v, claim) and _suffices(spec, v)]
    if prebound:
        return Bind(prebound[0])
    if is_delayed and SELECTED_NODE not in (claim["metadata"].get("annotations") or {}):
        return Wait("Normal", "WaitForFirstConsumer", WAIT)
    found = find_volume(claim, volumes)
    return _decide_new(spec, storage_class) if found is None else Bind(found)


def _decide_named(claim: Doc, volumes: Sequence[Doc]) -> Bind | Wait:
    """The claim says which volume it wants."""
    name = claim["spec"]["volumeName"]
    wanted = next((v for v in volumes if v["metadata"]["name"] == name), None)
    if wanted is None:
        return Wait("Warning", "FailedBinding", f'volume "{name}" not found.')
    if not _is_free_for(wanted, claim):
        return Wait("Warning", "FailedBinding", f'volume "{name}" already bound to a different claim.')
    mismatch = find_mismatch(claim["spec"], wanted) if _claim_of(wanted) is None else None
    if mismatch is not None:
        return Wait("Warning", "VolumeMismatch", f'Cannot bind to requested volume "{name}": {mismatch}')
    return Bind(wanted)


def _decide_new(spec: Doc, storage_class: Doc | None) -> Provision | Wait:
    """No volume that is there will do: one has to be made."""
    name = spec.get("storageClassName") or ""
    if not name:
        return Wait("Normal", "FailedBinding", NO_CLASS)
    if storage_class is None:
        return Wait("Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')
    provisioner = storage_class["provisioner"]
    if provisioner.startswith("kubernetes.io/"):
        return Wait("Warning", "ProvisioningFailed", f"no volume plugin matched name: {provisioner}")
    if provisioner != PROVISIONER:
        return Wait("Normal", EXTERNAL_PROVISIONING, format_external_provisioning(provisioner))
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        text = f'plugin "{PROVISIONER}" is not a CSI plugin. Only CSI plugin can provision a claim with a datasource'
        return Wait("Warning", "ProvisioningFailed", text)
    why = _find_unoffered(spec)
    if why is not None:
        text = f'failed to provision volume with StorageClass "{name}": {why}'
        return Wait("Warning", "ProvisioningFailed", text)
    return Provision(storage_class)


def format_external_provisioning(provisioner: str) -> str:
    """The volume controller's text while it waits for a provisioner."""
    return (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or "
        "manually by the system administrator. If volume creation is delayed, please verify that the provisioner is "
        "running and correctly registered."
    )


def _find_unoffered(spec: Doc) -> str | None:
    if spec.get("selector") is not None:
        return "claim.Spec.Selector is not supported"
    if spec.get("volumeMode") == "Block":
        return f"volume mode Block is not supported by {PROVISIONER}"
    return None


def find_mismatch(spec: Doc, volume: Doc) -> str | None:
    """Why a volume that a claim asks for by name will not do; ``None`` when it will."""
    given = volume["spec"]
    if "deletionTimestamp" in volume["metadata"]:
        return f'the volume is marked for deletion "{volume["metadata"]["name"]}"'
    if _size_of(volume) < parse_quantity(requested_size(spec)):
        return "requested PV is too small"
    if (given.get("storageClassName") or "") != (spec.get("storageClassName") or ""):
        return "storageClassName does not match"
    if not _has_mode(spec, given):
        return "incompatible volumeMode"
    return None if _has_access(spec, given) else "incompatible accessMode"


def compute_growth(claim: Doc, volume: Doc) -> str | None:
    """The size that a bound claim wants and its volume does not have yet."""
    wanted = requested_size(claim["spec"])
    return wanted if parse_quantity(wanted) > _size_of(volume) else None


def with_capacity(volume: Doc, size: str) -> Obj:
    """The volume, grown."""
    return {**volume, "spec": {**volume["spec"], "capacity": {**volume["spec"]["capacity"], "storage": size}}}


def with_grown_volume(claim: Doc, size: str) -> Obj:
    """The claim whose volume has grown."""
    status = claim.get("status") or {}
    grown = {"capacity": {**(status.get("capacity") or {}), "storage": size}, "allocatedResources": {"storage": size}}
    return {**claim, "status": {**status, **grown}}


def with_provisioner(claim: Doc, provisioner: str) -> Obj:
    """The claim, given to a provisioner."""
    annotations = {**(claim["metadata"].get("annotations") or {}), **dict.fromkeys(CHOSEN_PROVISIONER, provisioner)}
    return {**claim, "metadata": {**claim["metadata"], "annotations": annotations}}


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
    selector = from_label_selector(spec.get("selector") or {})
    return selector.matches(volume["metadata"].get("labels") or {}) and _suffices(spec, volume)


def _suffices(spec: Doc, volume: Doc) -> bool:
    is_large = _size_of(volume) >= parse_quantity(requested_size(spec))
    return bool(is_large and _has_mode(spec, volume["spec"]) and _has_access(spec, volume["spec"]))


def _has_mode(spec: Doc, given: Doc) -> bool:
    return (given.get("volumeMode") or "Filesystem") == (spec.get("volumeMode") or "Filesystem")


def _has_access(spec: Doc, given: Doc) -> bool:
    return set(spec.get("accessModes") or ()) <= set(given.get("accessModes") or ())


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
            "finalizers": [PV_FINALIZER],
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
