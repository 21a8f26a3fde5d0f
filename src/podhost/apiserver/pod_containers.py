"""Which container of a pod a request means: Kubernetes' rules and texts.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podhost.api import errors

Obj = dict[str, Any]


def choose_container(pod: Obj, wanted: str) -> str:
    """The named container, or the only one.

    Raises:
        ApiError: 400 when there is no such container, or several to choose from.
    """
    name, spec = pod["metadata"]["name"], pod.get("spec") or {}
    main = _names(spec, "containers")
    init = _names(spec, "initContainers")
    ephemeral = _names(spec, "ephemeralContainers")
    if wanted:
        if wanted not in (*main, *init, *ephemeral):
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(main) == 1:
        return main[0]
    message = f"a container name must be specified for pod {name}"
    if main:
        message += f", choose one of: {_go_list((*init, *main, *ephemeral))}"
    raise errors.bad_request(message)


def check_host_assigned(pod: Obj) -> None:
    """Raises ApiError (400) for a pod that is on no node yet."""
    if not (pod.get("spec") or {}).get("nodeName"):
        raise errors.bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")


def _names(spec: Obj, group: str) -> list[str]:
    return [container["name"] for container in spec.get(group) or ()]


def _go_list(names: Sequence[str]) -> str:
    return "[" + " ".join(names) + "]"
