"""Where the ``proxy`` subresource of a pod or a service leads: Kubernetes' rules and texts.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api import errors
from podhost.api.field_errors import go_quote

Obj = Mapping[str, Any]

_SCHEMES = ("", "http", "https")


@dataclass(frozen=True, slots=True)
class ProxyName:
    """``NAME``, ``NAME:PORT`` or ``SCHEME:NAME:PORT``; the port may be a name, or absent."""

    scheme: str
    name: str
    port: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect."""

    scheme: str
    address: str
    port: int

    @property
    def host(self) -> str:
        """Address and port as in a URL."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


def parse_name(text: str, kind: str) -> ProxyName:
    """Raises ApiError (400) for what is no such name; ``kind`` is ``pod``, ``service`` or ``node``."""
    match text.split(":"):
        case [name]:
            parsed = ProxyName("", name, "")
        case [name, port]:
            parsed = ProxyName("", name, port)
        case [scheme, name, port]:
            parsed = ProxyName(scheme, name, port)
        case _:
            parsed = ProxyName("", "", "")
    if not parsed.name or parsed.scheme not in _SCHEMES:
        raise errors.bad_request(f"invalid {kind} request {go_quote(text)}")
    return parsed


def find_pod_target(wanted: ProxyName, pod: Obj) -> Target:
    """The pod's own address; without a port the first that a container declares.

    Raises:
        ApiError: 400 for a pod without an address that may be reached, and for what is no port.
    """
    scheme = wanted.scheme or "http"
    port = wanted.port or str(next(_declared_ports(pod), "")) or ("443" if scheme == "https" else "80")
    addresses = (pod.get("status") or {}).get("podIPs") or ()
    address = str(addresses[0]["ip"]) if addresses else ""
    if not _is_global_unicast(address):
        raise errors.bad_request("address not allowed")
    return Target(scheme, address, _parse_port(port))


def find_node_target(wanted: ProxyName, node: Obj) -> Target:
    """A port of the node's own address.

    Raises:
        ApiError: 400 for a node without an address that may be reached, and for what is no port.
    """
    addresses = (node.get("status") or {}).get("addresses") or ()
    address = next((str(each["address"]) for each in addresses if each.get("type") == "InternalIP"), "")
    if not _is_global_unicast(address):
        raise errors.bad_request("address not allowed")
    return Target(wanted.scheme or "http", address, _parse_port(wanted.port))


def find_service_port(wanted: ProxyName, service: Obj) -> str:
    """Name of the service's port that is meant; a name is taken as it is.

    Raises:
        ApiError: 503 for a number that the service does not have.
    """
    if not wanted.port.lstrip("-").isdigit():
        return wanted.port
    for port in (service.get("spec") or {}).get("ports") or ():
        if port["port"] == int(wanted.port):
            return str(port.get("name") or "")
    raise errors.service_unavailable(f"no service port {int(wanted.port)} found for service {go_quote(wanted.name)}")


def find_service_target(
    wanted: ProxyName, port_name: str, endpoints: Obj, *, is_pod: Callable[[Obj], bool], choose: Callable[[int], int]
) -> Target:
    """One of the addresses behind a port of a service.

    Args:
        is_pod: Whether an endpoint address is really a pod's: others are never connected to.
        choose: A number below the given one.

    Raises:
        ApiError: 503 when there is none.
    """
    found = [
        Target(wanted.scheme or "http", str(address["ip"]), int(port["port"]))
        for subset in endpoints.get("subsets") or ()
        for port in subset.get("ports") or ()
        if (port.get("name") or "") == port_name
        for address in subset.get("addresses") or ()
        if is_pod(address)
    ]
    if not found:
        raise errors.service_unavailable(f"no endpoints available for service {go_quote(wanted.name)}")
    return found[choose(len(found))]


def is_address_of(address: Obj, pod: Obj | None) -> bool:
    """Whether an endpoint's address belongs to the pod that it refers to."""
    if pod is None:
        return False
    return address["ip"] in [each["ip"] for each in (pod.get("status") or {}).get("podIPs") or ()]


def _declared_ports(pod: Obj) -> Iterator[int]:
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            yield port["containerPort"]


def _is_global_unicast(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified)


def _parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16:
        return int(text)
    raise errors.service_unavailable(f"error trying to reach service: dial tcp: lookup tcp/{text}: unknown port")
