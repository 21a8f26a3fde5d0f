"""The records of one Service, and of one Pod.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from podhost.api.addresses import is_ipv4
from podhost.api.objects import is_terminal

Doc = Mapping[str, Any]
RecordType = Literal["A", "CNAME", "PTR", "SRV", "TXT"]

SPECIFICATION_VERSION = "1.1.0"
_SRV_PRIORITY_AND_WEIGHT = "0 100"


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """``data`` is in the form of a zone file; names are lower case, absolute, without the last dot."""

    name: str
    type: RecordType
    data: str


def build_version_record(domain: str) -> Record:
    """By which a client learns what it may expect."""
    return Record(f"dns-version.{domain}", "TXT", f'"{SPECIFICATION_VERSION}"')


def compute_service_records(service: Doc, slices: Iterable[Doc], domain: str) -> tuple[Record, ...]:
    """All names that a service brings.

    Args:
        service: The Service.
        slices: Its EndpointSlices.
        domain: The cluster's domain, ``cluster.local``.
    """
    metadata, spec = service["metadata"], service.get("spec") or {}
    base = f"{metadata['name']}.{metadata['namespace']}.svc.{domain}".lower()
    if spec.get("type") == "ExternalName":
        target = str(spec.get("externalName") or "").rstrip(".").lower()
        return (Record(base, "CNAME", f"{target}."),) if target else ()
    cluster_ip = str(spec.get("clusterIP") or "")
    if cluster_ip == "None":
        return tuple(sorted(set(_headless_records(base, slices))))
    if not is_ipv4(cluster_ip):
        return ()
    return (
        Record(base, "A", cluster_ip),
        Record(reverse_name(cluster_ip), "PTR", f"{base}."),
        *(_srv(port, port.get("port"), base, base) for port in spec.get("ports") or () if port.get("name")),
    )


def compute_pod_records(pod: Doc, domain: str) -> tuple[Record, ...]:
    """``10-200-0-2.default.pod.cluster.local`` while the pod has that address of its own and has not ended."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    address = str(status.get("podIP") or "")
    if is_terminal(pod) or spec.get("hostNetwork") or not is_ipv4(address):
        return ()
    return (Record(f"{_dashed(address)}.{pod['metadata']['namespace']}.pod.{domain}".lower(), "A", address),)


def reverse_name(address: str) -> str:
    """``2.0.200.10.in-addr.arpa``."""
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def _headless_records(base: str, slices: Iterable[Doc]) -> Iterator[Record]:
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") != "IPv4":
            continue
        ports = [port for port in endpoint_slice.get("ports") or () if port.get("name") and port.get("port")]
        for endpoint in endpoint_slice.get("endpoints") or ():
            address = str(next(iter(endpoint.get("addresses") or ()), ""))
            # The API says: unknown (absent) means ready.
            if not (endpoint.get("conditions") or {}).get("ready", True) or not is_ipv4(address):
                continue
            own = f"{endpoint.get('hostname') or _dashed(address)}.{base}".lower()
            yield Record(base, "A", address)
            yield Record(own, "A", address)
            yield Record(reverse_name(address), "PTR", f"{own}.")
            yield from (_srv(port, port["port"], base, own) for port in ports)


def _srv(port: Doc, number: object, base: str, target: str) -> Record:
    protocol = str(port.get("protocol") or "TCP").lower()
    return Record(
        f"_{port['name']}._{protocol}.{base}".lower(), "SRV", f"{_SRV_PRIORITY_AND_WEIGHT} {number} {target}."
    )


def _dashed(address: str) -> str:
    return address.replace(".", "-")
