"""Which pods hold the host ports that another one asks for.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
_ANY = ("", "0.0.0.0", "::")


def find_port_holders(pod: Document, others: Iterable[Document]) -> list[str]:
    """``8080/TCP is held by pod/web -n shop``, for each host port that ``pod`` wants and a pod with a node has."""
    wanted = list(_host_ports(pod))
    held = [
        f"{number}/{protocol} is held by pod/{other['metadata']['name']} -n {other['metadata']['namespace']}"
        for other in others
        if _is_placed(other) and other["metadata"].get("uid") != pod["metadata"].get("uid")
        for protocol, address, number in _host_ports(other)
        if any(
            (protocol, number) == (own_protocol, own_number) and (address == own or address in _ANY or own in _ANY)
            for own_protocol, own, own_number in wanted
        )
    ]
    return list(dict.fromkeys(held))


def _is_placed(pod: Document) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return bool(pod["spec"].get("nodeName")) and not ended


def _host_ports(pod: Document) -> Iterator[tuple[str, str, int]]:
    """Protocol, address and number, of the containers that run beside each other."""
    sidecars = [each for each in pod["spec"].get("initContainers") or [] if each.get("restartPolicy") == "Always"]
    for container in [*sidecars, *pod["spec"]["containers"]]:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield port.get("protocol", "TCP"), port.get("hostIP", ""), port["hostPort"]
