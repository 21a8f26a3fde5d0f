"""Endpoints and EndpointSlices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.containers import PROTOCOLS
from podhost.api.validation.ips import validate_ip, validate_non_special_ip
from podhost.api.validation.metadata import immutable, invalid_all, one_of, validate_labels

_ROOT = Path()
_ADDRESS_TYPES = frozenset({"IPv4", "IPv6", "FQDN"})
_MAX_ADDRESSES = 100
_MAX_PORTS = 20000
_MAX_ENDPOINTS = 1000
_MAX_TOPOLOGY_LABELS = 16
_MAX_HINTS = 8


def validate_endpoints(endpoints: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, subset in enumerate(endpoints.get("subsets") or ()):
        path = _ROOT.child("subsets").index(index)
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(path.required("must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(field) or ()):
                errors += _validate_address(address, path.child(field).index(number))
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            errors += _validate_endpoint_port(port, len(ports) > 1, path.child("ports").index(number))
    return errors


def _validate_address(address: Mapping[str, Any], path: Path) -> list[FieldError]:
    ip = address.get("ip") or ""
    errors = validate_ip(ip, path.child("ip"))
    if host := address.get("hostname"):
        errors += invalid_all(path.child("hostname"), host, names.check_dns_label(host))
    if node := address.get("nodeName"):
        errors += invalid_all(path.child("nodeName"), node, names.check_dns_subdomain(node))
    return errors + validate_non_special_ip(ip, path.child("ip"))


def _validate_endpoint_port(port: Mapping[str, Any], name_required: bool, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name") or ""
    if name:
        errors += invalid_all(path.child("name"), name, names.check_dns_label(name))
    elif name_required:
        errors.append(path.child("name").required())
    number = port.get("port") or 0
    errors += invalid_all(path.child("port"), number, names.check_port_number(number))
    errors += one_of(path.child("protocol"), port.get("protocol"), PROTOCOLS)
    if (protocol := port.get("appProtocol")) is not None:
        errors += invalid_all(path.child("appProtocol"), protocol, names.check_qualified_name(protocol))
    return errors


def validate_endpoints_update(new: Object, _old: Object) -> list[FieldError]:
    return validate_endpoints(new)


def validate_endpoint_slice(endpoint_slice: Object) -> list[FieldError]:
    kind = endpoint_slice.get("addressType")
    errors = one_of(_ROOT.child("addressType"), kind, _ADDRESS_TYPES)
    errors += _validate_slice_endpoints(endpoint_slice.get("endpoints") or [], kind, _ROOT.child("endpoints"))
    return errors + _validate_slice_ports(endpoint_slice.get("ports") or [], _ROOT.child("ports"))


def _validate_slice_endpoints(endpoints: Sequence[Mapping[str, Any]], kind: Any, path: Path) -> list[FieldError]:
    if len(endpoints) > _MAX_ENDPOINTS:
        return [path.too_many(len(endpoints), _MAX_ENDPOINTS)]
    errors: list[FieldError] = []
    for index, endpoint in enumerate(endpoints):
        at = path.index(index)
        addresses = endpoint.get("addresses") or []
        if not addresses:
            errors.append(at.child("addresses").required("must contain at least 1 address"))
        elif len(addresses) > _MAX_ADDRESSES:
            errors.append(at.child("addresses").too_many(len(addresses), _MAX_ADDRESSES))
        for number, address in enumerate(addresses):
            errors += _validate_slice_address(address, kind, at.child("addresses").index(number))
        if (node := endpoint.get("nodeName")) is not None:
            errors += invalid_all(at.child("nodeName"), node, names.check_dns_subdomain(node))
        topology = endpoint.get("deprecatedTopology") or {}
        if len(topology) > _MAX_TOPOLOGY_LABELS:
            errors.append(at.child("deprecatedTopology").too_many(len(topology), _MAX_TOPOLOGY_LABELS))
        errors += validate_labels(topology, at.child("deprecatedTopology"))
        if (host := endpoint.get("hostname")) is not None:
            errors += invalid_all(at.child("hostname"), host, names.check_dns_label(host))
        hints = endpoint.get("hints") or {}
        errors += _validate_hints(hints.get("forZones") or (), names.check_label_value, at.child("hints", "forZones"))
        errors += _validate_hints(hints.get("forNodes") or (), names.check_dns_subdomain, at.child("hints", "forNodes"))
    return errors


def _validate_hints(hints: Sequence[Mapping[str, Any]], check: names.NameCheck, path: Path) -> list[FieldError]:
    if len(hints) > _MAX_HINTS:
        return [path.too_many(len(hints), _MAX_HINTS)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        name, at = hint.get("name") or "", path.index(index).child("name")
        if name in seen:
            errors.append(at.duplicate(name))
        seen.add(name)
        errors += invalid_all(at, name, check(name))
    return errors


def _validate_slice_address(address: str, kind: Any, path: Path) -> list[FieldError]:
    if kind == "FQDN":
        return invalid_all(path, address, names.check_dns_subdomain(address))
    if kind not in ("IPv4", "IPv6"):
        return []
    errors = validate_ip(address, path)
    if not errors and (":" in address) != (kind == "IPv6"):
        errors.append(path.invalid(address, f"must be an {kind} address"))
    return errors or validate_non_special_ip(address, path)


def _validate_slice_ports(ports: Sequence[Mapping[str, Any]], path: Path) -> list[FieldError]:
    if len(ports) > _MAX_PORTS:
        return [path.too_many(len(ports), _MAX_PORTS)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at = path.index(index)
        name = port.get("name") or ""
        if name:
            errors += invalid_all(at.child("name"), name, names.check_dns_label(name))
        if name in seen:
            errors.append(at.child("name").duplicate(name))
        seen.add(name)
        errors += one_of(at.child("protocol"), port.get("protocol"), PROTOCOLS)
        if (protocol := port.get("appProtocol")) is not None:
            errors += invalid_all(at.child("appProtocol"), protocol, names.check_qualified_name(protocol))
    return errors


def validate_endpoint_slice_update(new: Object, old: Object) -> list[FieldError]:
    errors = validate_endpoint_slice(new)
    return errors + immutable(_ROOT.child("addressType"), new.get("addressType"), old.get("addressType"))
