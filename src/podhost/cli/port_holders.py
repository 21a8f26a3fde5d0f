"""Which pods hold the host ports that another one asks for.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from podhost.api.objects import is_terminal

Document = Mapping[str, Any]


def find_port_holders(pod: Document, others: Iterable[Document]) -> list[str]:
    """``8080/TCP is held by pod/web -n shop``, for each host port that ``pod`` wants and a pod with a node has."""
    from podhost.api.node_load import do_host_ports_clash, host_ports

    wanted = list(host_ports(pod["spec"]))
    held = [
        f"{number}/{protocol} is held by pod/{other['metadata']['name']} -n {other['metadata']['namespace']}"
        for other in others
        if _is_placed(other) and other["metadata"].get("uid") != pod["metadata"].get("uid")
        for address, protocol, number in host_ports(other["spec"])
        if any(do_host_ports_clash((address, protocol, number), own) for own in wanted)
    ]
    return list(dict.fromkeys(held))


def _is_placed(pod: Document) -> bool:
    return bool(pod["spec"].get("nodeName")) and not is_terminal(pod)
