"""What Kubernetes' admission plugin RuntimeClass does to a new pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podhost.api import errors
from podhost.api.quantity import parse_quantity

Obj = dict[str, Any]
FindRuntimeClass = Callable[[str], Mapping[str, Any] | None]


def admit_runtime_class(pod: Obj, find: FindRuntimeClass) -> None:
    """Overhead and scheduling of the pod's class, in place.

    Raises:
        ApiError: 403 for a class that does not exist, or that contradicts the pod.
    """
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return  # validation says so
    name = spec.get("runtimeClassName") or ""
    chosen = find(name) if name else None
    pod_name = pod["metadata"].get("name", "")
    if name and chosen is None:
        raise errors.forbidden("pods", pod_name, f'pod rejected: RuntimeClass "{name}" not found')
    if problem := _set_overhead(spec, chosen) or _set_scheduling(spec, chosen):
        raise errors.forbidden("pods", pod_name, problem)


def _set_overhead(spec: Obj, chosen: Mapping[str, Any] | None) -> str:
    overhead = ((chosen or {}).get("overhead") or {}).get("podFixed")
    if overhead is None:
        own = spec.get("overhead")
        return "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead" if own else ""
    if spec.get("overhead") and _amounts(spec["overhead"]) != _amounts(overhead):
        return "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    spec["overhead"] = dict(overhead)
    return ""


def _amounts(resources: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: parse_quantity(amount) for name, amount in resources.items()}
    except ValueError:
        return dict(resources)  # validation says so


def _set_scheduling(spec: Obj, chosen: Mapping[str, Any] | None) -> str:
    scheduling = (chosen or {}).get("scheduling") or {}
    wanted, own = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    for key, value in wanted.items():
        if own.get(key, value) != value:
            return (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {own[key]}"
            )
    if wanted:
        spec["nodeSelector"] = {**own, **wanted}
    tolerations = spec.get("tolerations") or []
    if added := [each for each in scheduling.get("tolerations") or () if each not in tolerations]:
        spec["tolerations"] = [*tolerations, *added]
    return ""
