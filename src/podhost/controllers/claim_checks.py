"""Whether the claims of a pod let it be bound to the node, in the scheduler's words (VolumeBinding).  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api.node_fit import matches_selector
from podhost.api.objects import is_terminal
from podhost.controllers.volume_binding import PROVISIONED_BY, PROVISIONER, claims_of_pod

Doc = Mapping[str, Any]
_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
_ELSEWHERE = "1 node(s) didn't match PersistentVolume's node affinity"
_ONE_POD = "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, the class that it names, and the volume that it is bound to, if there are any."""

    document: Doc
    storage_class: Doc | None
    volume: Doc | None = None


@dataclass(frozen=True, slots=True)
class Unbound:
    """Claims that waited for this pod; it is bound after them."""

    names: tuple[str, ...]


def find_obstacle(pod: Doc, claims: Mapping[str, Claim], others: Iterable[Doc], node: Doc) -> str | Unbound | None:
    """Why the pod has to wait; ``None`` when its claims are bound.  ``others`` are the namespace's pods."""
    waiting = []
    ephemeral = {volume["name"] for volume in pod["spec"].get("volumes") or () if volume.get("ephemeral") is not None}
    for volume, name in claims_of_pod(pod):
        claim = claims.get(name)
        if claim is None:
            if volume in ephemeral:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return f'persistentvolumeclaim "{name}" not found'
        document = claim.document
        if volume in ephemeral and not _is_owned(document, pod):
            return f'PVC "{name}" was not created for pod "{pod["metadata"]["name"]}"'
        phase = (document.get("status") or {}).get("phase")
        if phase == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{_volume_of(document)}"'
        if "deletionTimestamp" in document["metadata"]:
            return f'persistentvolumeclaim "{name}" is being deleted'
        if phase != "Bound":
            if not _is_delayed(claim):
                return _UNBOUND
            waiting.append(name)
        elif not _reaches(claim.volume, node):
            return _ELSEWHERE
        if "ReadWriteOncePod" in (document["spec"].get("accessModes") or ()) and _is_used(name, pod, others):
            return _ONE_POD
    return Unbound(tuple(waiting)) if waiting else None


def _reaches(volume: Doc | None, node: Doc) -> bool:
    if volume is None or (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER:
        return True  # Ours are here, also after the machine got another name.
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or matches_selector(required, node)


def _is_owned(claim: Doc, pod: Doc) -> bool:
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == pod["metadata"]["uid"] for owner in owners)


def _volume_of(claim: Doc) -> str:
    return str(claim["spec"].get("volumeName") or "")


def _is_delayed(claim: Claim) -> bool:
    of = claim.storage_class
    return of is not None and of.get("volumeBindingMode") == "WaitForFirstConsumer"


def _is_used(name: str, pod: Doc, others: Iterable[Doc]) -> bool:
    return any(
        other["metadata"]["uid"] != pod["metadata"]["uid"]
        and other["spec"].get("nodeName")
        and not is_terminal(other)
        and any(used == name for _, used in claims_of_pod(other))
        for other in others
    )
