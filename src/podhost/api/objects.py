"""Small readers of API objects as JSON documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]
"""An API object, or a part of one, as JSON."""


def section(obj: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A nested object, empty when absent."""
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def ensure_section(obj: Object, name: str) -> Object:
    """The nested object ``name``, made when absent."""
    value: Object | None = obj.get(name)
    if value is None:
        value = obj[name] = {}
    return value


MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
"""On the API object that stands for a static pod; the value is that pod's uid on its node."""


def is_mirror_pod(pod: Mapping[str, Any]) -> bool:
    """Whether the object only shows a pod that runs from a file."""
    return MIRROR_ANNOTATION in section(pod, "metadata", "annotations")


def is_static_pod(pod: Mapping[str, Any]) -> bool:
    """Whether the pod comes from a file of this machine (or is the mirror of one that does)."""
    return section(pod, "metadata", "annotations").get("kubernetes.io/config.source") == "file"


def is_terminal(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has ended for good."""
    return section(pod, "status").get("phase") in ("Succeeded", "Failed")


def read_pod_uid(pod: Mapping[str, Any]) -> str:
    """The uid that the pod's sandboxes and containers have on the machine."""
    return str(
        section(pod, "metadata", "annotations").get(MIRROR_ANNOTATION) or section(pod, "metadata").get("uid", "")
    )


def all_containers(pod_spec: Mapping[str, Any]) -> Iterator[tuple[str, int, Object]]:
    """Every container of a pod with the name of its list and its index, in Kubernetes' order of visits."""
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod_spec.get(group) or ()):
            yield group, index, container
