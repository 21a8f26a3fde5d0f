"""Bindings: what may be asked by one, and what it makes of a pod.  Pure, after kubernetes 1.37 registry/core/pod."""

from __future__ import annotations

from typing import Any

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.field_errors import FieldError, Path
from podhost.api.kinds import POD
from podhost.apiserver import identity

Obj = dict[str, Any]

_TARGET = Path("target")


def find_problems(binding: Obj) -> list[FieldError]:
    """What is wrong with the Binding itself."""
    target = binding.get("target") or {}
    problems = []
    if target.get("kind") not in (None, "", "Node"):
        problems.append(_TARGET.child("kind").not_supported(target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        problems.append(_TARGET.child("name").required())
    return problems


def bind(pod: Obj, binding: Obj, now: str) -> None:
    """Give the pod its node, and the Binding's labels and annotations, in place.

    Raises:
        ApiError: 409 when it cannot have one, or is not the pod that the Binding means.
    """
    wanted, metadata, spec = binding["metadata"], pod["metadata"], pod["spec"]
    identity.check_preconditions(POD, metadata, wanted.get("uid") or None, wanted.get("resourceVersion") or None)
    if metadata.get("deletionTimestamp"):
        raise _refuse(pod, "is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _refuse(pod, f'is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _refuse(pod, "has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding["target"]["name"]
    for field in ("labels", "annotations"):
        if wanted.get(field):
            metadata[field] = {**(metadata.get(field) or {}), **wanted[field]}
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    others = [condition for condition in status.get("conditions") or () if condition["type"] != "PodScheduled"]
    status["conditions"] = [*others, scheduled]


def _refuse(pod: Obj, detail: str) -> ApiError:
    name = pod["metadata"]["name"]
    return errors.conflict("pods/binding", name, "", f"pod {name} {detail}")
