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


def all_containers(pod_spec: Mapping[str, Any]) -> Iterator[tuple[str, int, Object]]:
    """Every container of a pod with the name of its list and its index, in Kubernetes' order of visits."""
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod_spec.get(group) or ()):
            yield group, index, container


def has_init_sidecar(pod_spec: Mapping[str, Any]) -> bool:
    return any(c.get("restartPolicy") == "Always" for c in pod_spec.get("initContainers") or ())
