"""persistentVolumeClaim and generic ephemeral volumes: the directory of the volume that a claim is bound to."""

from __future__ import annotations

from pathlib import Path

from podhost.api import models
from podhost.cri.volumes import ObjectReader, VolumeError
from podhost.volumes import host_path
from podhost.volumes.ownership import apply_fs_group_to_tree
from podhost.volumes.plan import ClaimPlan, HostPathPlan


def read_plan(reader: ObjectReader, pod: models.Pod, volume: models.Volume) -> ClaimPlan | HostPathPlan:
    """Plan of one volume.

    Raises:
        VolumeError: The claim is missing or not bound, or its volume is of a kind that is not offered.
    """
    namespace, source = pod.metadata.namespace or "", volume.persistent_volume_claim
    name = source.claim_name if source is not None else f"{pod.metadata.name}-{volume.name}"
    where = f"error processing PVC {namespace}/{name}"
    claim = reader.read("PersistentVolumeClaim", namespace, name)
    if claim is None:
        raise VolumeError(f'{where}: failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found')
    if source is None and not _is_owned(claim["metadata"].get("ownerReferences") or (), pod):
        raise VolumeError(f'{where}: PVC "{name}" was not created for pod "{pod.metadata.name}"')
    bound = claim["spec"].get("volumeName") or ""
    if (claim.get("status") or {}).get("phase") != "Bound" or not bound:
        raise VolumeError(f"{where}: PVC is not bound")
    persistent = reader.read("PersistentVolume", "", bound)
    if persistent is None:
        raise VolumeError(f'{where}: failed to fetch PV {bound} from API server: persistentvolumes "{bound}" not found')
    spec = persistent["spec"]
    if spec.get("volumeMode") == "Block":
        raise VolumeError(f"{where}: volume {bound} is of mode Block, which is not supported by podhost")
    read_only = bool(source and source.read_only)
    if (given := spec.get("hostPath")) is not None:
        path = models.HostPathVolumeSource(path=given["path"], type=given.get("type"))
        return host_path.compute_plan(volume.name, path, read_only=read_only)
    local = spec.get("local")
    if local is None:
        kinds = sorted(name for name, value in spec.items() if isinstance(value, dict) and name not in _NO_KINDS)
        raise VolumeError(f"{where}: spec.{', spec.'.join(kinds)} of volume {bound} is not supported by podhost")
    security = pod.spec.security_context
    return ClaimPlan(
        name=volume.name,
        path=local["path"],
        read_only=read_only,
        fs_group=security.fs_group if security else None,
        on_root_mismatch=bool(security and security.fs_group_change_policy == "OnRootMismatch"),
    )


_NO_KINDS = frozenset({"capacity", "claimRef", "nodeAffinity"})


def _is_owned(owners: object, pod: models.Pod) -> bool:
    assert isinstance(owners, list | tuple)
    return any(owner.get("uid") == pod.metadata.uid for owner in owners)


def apply_fs_group(plan: ClaimPlan, directory: Path) -> None:
    """Give ``directory``, which is ``plan``'s as the daemon sees it, to the pod's group.  Raises OSError."""
    if plan.fs_group is not None and not plan.read_only:
        apply_fs_group_to_tree(directory, plan.fs_group, on_root_mismatch=plan.on_root_mismatch)
