"""What Services and EndpointSlices ask of the data path.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from podhost.api.addresses import is_ipv4

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_DEFAULT_AFFINITY_S = 10800
_PROTOCOLS = ("TCP", "UDP", "SCTP")

Doc = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where a connection may go."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a service with its way to the pods."""

    namespace: str
    service: str
    name: str
    protocol: str
    """``tcp``, ``udp`` or ``sctp``, as nftables spells it."""
    cluster_ip: str
    port: int
    node_port: int
    """0: none."""
    affinity_s: int
    """How long a client stays with its endpoint, in seconds; 0: each connection anew."""
    endpoints: tuple[Endpoint, ...]


def compute_service_ports(service: Doc, slices: Iterable[Doc]) -> list[ServicePort]:
    """The ports of a service; empty for headless services and external names."""
    spec = service.get("spec") or {}
    cluster_ip = spec.get("clusterIP") or ""
    if spec.get("type") == "ExternalName" or not is_ipv4(cluster_ip):
        return []
    with_node_ports = spec.get("type") in ("NodePort", "LoadBalancer")
    slices = list(slices)
    return [
        ServicePort(
            namespace=service["metadata"]["namespace"],
            service=service["metadata"]["name"],
            name=port.get("name") or "",
            protocol=(port.get("protocol") or "TCP").lower(),
            cluster_ip=cluster_ip,
            port=port["port"],
            node_port=port["nodePort"] if with_node_ports and _is_port(port.get("nodePort")) else 0,
            affinity_s=_affinity_s(spec),
            endpoints=compute_endpoints(port.get("name") or "", port.get("protocol") or "TCP", slices),
        )
        for port in spec.get("ports") or []
        if _is_port(port.get("port")) and (port.get("protocol") or "TCP") in _PROTOCOLS
    ]


def is_endpoint_address(text: str) -> bool:
    """Whether connections may be sent there.

    Slices can be written by users.  One that leads to 127/8 would open the host's loopback to pods, since the
    rule against that (CVE-2020-8558) looks at packets before their translation.
    """
    if not is_ipv4(text):
        return False
    address = IPv4Address(text)
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def compute_endpoints(port_name: str, protocol: str, slices: Iterable[Doc]) -> tuple[Endpoint, ...]:
    """Ready endpoints of a port; without any, those that still serve while they terminate (KEP-1669)."""
    ready: set[Endpoint] = set()
    terminating: set[Endpoint] = set()
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") != "IPv4":
            continue
        numbers = [
            port["port"]
            for port in endpoint_slice.get("ports") or []
            if (port.get("name") or "") == port_name
            and (port.get("protocol") or "TCP") == protocol
            and _is_port(port.get("port"))
        ]
        for endpoint in endpoint_slice.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            # The API says: unknown (absent) means ready.
            target = ready if conditions.get("ready", True) else None
            if target is None and conditions.get("serving") and conditions.get("terminating"):
                target = terminating
            address = next(iter(endpoint.get("addresses") or ()), "")
            if target is not None and is_endpoint_address(address):
                target.update(Endpoint(address, number) for number in numbers)
    return tuple(sorted(ready or terminating))


def service_of_slice(endpoint_slice: Doc) -> tuple[str, str] | None:
    """Namespace and name of the service that a slice belongs to."""
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL)
    return (metadata["namespace"], name) if name else None


def _affinity_s(spec: Doc) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client_ip.get("timeoutSeconds") or _DEFAULT_AFFINITY_S)


def _is_port(number: Any) -> bool:
    return isinstance(number, int) and 1 <= number <= 65535
