"""Services."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.containers import PROTOCOLS
from podhost.api.validation.ips import validate_ip, validate_non_special_ip
from podhost.api.validation.metadata import invalid_all, one_of, validate_labels
from podhost.api.validation.probes import validate_port

_SPEC = Path("spec")
_TYPES = frozenset({"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"})
_AFFINITIES = frozenset({"ClientIP", "None"})
_TRAFFIC_POLICIES = frozenset({"Cluster", "Local"})
_DISTRIBUTIONS = frozenset({"PreferClose", "PreferSameNode", "PreferSameZone"})
_FAMILIES = frozenset({"IPv4", "IPv6"})
_FAMILY_POLICIES = frozenset({"PreferDualStack", "RequireDualStack", "SingleStack"})
_MAX_AFFINITY_S = 86400
_KUBELET_PORT = 10250
_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
_BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def cluster_ips(spec: Mapping[str, Any]) -> list[str]:
    """The wanted cluster addresses; ``clusterIP`` alone stands for the first."""
    addresses = list(spec.get("clusterIPs") or ())
    return addresses or ([spec["clusterIP"]] if spec.get("clusterIP") else [])


def is_headless(spec: Mapping[str, Any]) -> bool:
    return cluster_ips(spec) == ["None"]


def _is_external(spec: Mapping[str, Any]) -> bool:
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def validate_service(service: Object) -> list[FieldError]:
    spec = service.get("spec") or {}
    ports = spec.get("ports") or []
    errors: list[FieldError] = []
    if not ports and not is_headless(spec) and spec.get("type") != "ExternalName":
        errors.append(_SPEC.child("ports").required())
    errors += _validate_type_rules(spec)
    seen_names: set[str] = set()
    for index, port in enumerate(ports):
        errors += _validate_port(port, len(ports) > 1, seen_names, _SPEC.child("ports").index(index))
    if selector := spec.get("selector"):
        errors += validate_labels(selector, _SPEC.child("selector"))
    errors += _validate_affinity(spec)
    errors += _validate_cluster_ips(spec)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        at = _SPEC.child("externalIPs").index(index)
        errors += validate_ip(address, at) or validate_non_special_ip(address, at)
    errors += one_of(_SPEC.child("type"), spec.get("type"), _TYPES)
    errors += _validate_port_conflicts(spec, ports)
    errors += _validate_load_balancer(spec, service.get("metadata") or {})
    return errors + _validate_traffic(spec)


def _validate_type_rules(spec: Mapping[str, Any]) -> list[FieldError]:
    kind = spec.get("type")
    if kind in ("LoadBalancer", "NodePort"):
        errors = _forbid_kubelets_port(spec) if kind == "LoadBalancer" else []
        if is_headless(spec):
            detail = f"may not be set to 'None' for {kind} services"
            errors.append(_SPEC.child("clusterIPs").index(0).invalid("None", detail))
        return errors
    if kind != "ExternalName":
        return []
    detail = "may not be set for ExternalName services"
    errors = [_SPEC.child("clusterIPs").forbidden(detail)] if cluster_ips(spec) else []
    errors += [_SPEC.child(name).forbidden(detail) for name in ("ipFamilies", "ipFamilyPolicy") if spec.get(name)]
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [*errors, _SPEC.child("externalName").required()]
    return errors + invalid_all(_SPEC.child("externalName"), name, names.check_dns_subdomain(name))


def _forbid_kubelets_port(spec: Mapping[str, Any]) -> list[FieldError]:
    detail = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
    return [
        _SPEC.child("ports").index(index).child("port").invalid(_KUBELET_PORT, detail)
        for index, port in enumerate(spec.get("ports") or ())
        if port.get("port") == _KUBELET_PORT
    ]


def _validate_port(port: Mapping[str, Any], name_required: bool, seen: set[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name") or ""
    if name:
        errors += invalid_all(path.child("name"), name, names.check_dns_label(name))
        if name in seen:
            errors.append(path.child("name").duplicate(name))
        seen.add(name)
    elif name_required:
        errors.append(path.child("name").required())
    number = port.get("port") or 0
    errors += invalid_all(path.child("port"), number, names.check_port_number(number))
    errors += one_of(path.child("protocol"), port.get("protocol"), PROTOCOLS)
    errors += validate_port(port.get("targetPort"), path.child("targetPort"))
    protocol = port.get("appProtocol")
    if protocol is not None:
        errors += invalid_all(path.child("appProtocol"), protocol, names.check_qualified_name(protocol))
    return errors


def _validate_affinity(spec: Mapping[str, Any]) -> list[FieldError]:
    affinity = spec.get("sessionAffinity")
    errors = one_of(_SPEC.child("sessionAffinity"), affinity, _AFFINITIES)
    path = _SPEC.child("sessionAffinityConfig")
    config = spec.get("sessionAffinityConfig")
    if affinity == "None" and config is not None:
        errors.append(path.forbidden("must not be set when session affinity is None"))
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            errors.append(path.child("clientIP", "timeoutSeconds").required("when session affinity type is ClientIP"))
        elif not 0 < seconds <= _MAX_AFFINITY_S:
            detail = f"must be greater than 0 and less than {_MAX_AFFINITY_S}"
            errors.append(path.child("clientIP", "timeoutSeconds").invalid(seconds, detail))
    return errors


def _validate_cluster_ips(spec: Mapping[str, Any]) -> list[FieldError]:
    if spec.get("type") == "ExternalName":
        return []
    addresses, path = list(spec.get("clusterIPs") or ()), _SPEC.child("clusterIPs")
    errors = []
    if spec.get("clusterIP"):
        if addresses and addresses[0] != spec["clusterIP"]:
            errors.append(path.invalid(addresses, "first value must match `clusterIP`"))
    elif addresses:
        errors.append(path.invalid(addresses, "must be empty when `clusterIP` is not specified"))
    errors += _validate_families(spec)
    addresses = cluster_ips(spec)
    bad = _validate_addresses(addresses, path)
    if len(addresses) > 2:
        errors.append(path.invalid(addresses, "may only hold up to 2 values"))
    if bad:
        return errors + bad
    versions = [ipaddress.ip_address(each).version for each in addresses if each != "None"]
    if len(versions) > 1 and set(versions) != {4, 6}:
        errors.append(path.invalid(addresses, "may specify no more than one IP for each IP family"))
    return errors + _validate_families_match(spec, addresses)


def _validate_addresses(addresses: list[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                errors.append(path.invalid(addresses, "'None' must be the first and only value"))
        else:
            errors += validate_ip(address, path.index(index))
    return errors


def _validate_families(spec: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        at = _SPEC.child("ipFamilies").index(index)
        if family not in _FAMILIES:
            errors.append(at.not_supported(family, _FAMILIES))
        if family in families[:index]:
            errors.append(at.duplicate(family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        errors.append(_SPEC.child("ipFamilyPolicy").not_supported(policy, _FAMILY_POLICIES))
    return errors


def _validate_families_match(spec: Mapping[str, Any], addresses: list[str]) -> list[FieldError]:
    errors = []
    for index, (address, family) in enumerate(zip(addresses, spec.get("ipFamilies") or (), strict=False)):
        try:
            version = ipaddress.ip_address(address).version
        except ValueError:
            continue
        if family in _FAMILIES and family != f"IPv{version}":
            detail = f"expected an IPv{family[-1]} value as indicated by `ipFamilies[{index}]`"
            errors.append(_SPEC.child("clusterIPs").index(index).invalid(address, detail))
    return errors


def _validate_port_conflicts(spec: Mapping[str, Any], ports: list[Object]) -> list[FieldError]:
    errors = []
    path = _SPEC.child("ports")
    node_ports: set[tuple[Any, Any]] = set()
    pairs: set[tuple[Any, Any]] = set()
    if spec.get("type") == "ClusterIP":
        detail = "may not be used when `type` is 'ClusterIP'"
        errors += [path.index(i).child("nodePort").forbidden(detail) for i, p in enumerate(ports) if p.get("nodePort")]
    for index, port in enumerate(ports):
        key = (port.get("protocol"), port.get("nodePort"))
        if port.get("nodePort") and key in node_ports:
            errors.append(path.index(index).child("nodePort").duplicate(port["nodePort"]))
        node_ports.add(key)
    for index, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in pairs:
            errors.append(path.index(index).duplicate(_go_service_port(port)))
        pairs.add(key)
    return errors


def _go_service_port(port: Mapping[str, Any]) -> Object:
    """What Go prints for the pair of protocol and port: its internal struct as JSON."""
    return {
        "Name": "",
        "Protocol": port.get("protocol") or "",
        "AppProtocol": None,
        "Port": port.get("port") or 0,
        "TargetPort": 0,
        "NodePort": 0,
    }


def _validate_load_balancer(spec: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[FieldError]:
    detail = "may only be used when `type` is 'LoadBalancer'"
    balanced = spec.get("type") == "LoadBalancer"
    errors: list[FieldError] = []
    annotation = (metadata.get("annotations") or {}).get(_RANGES_ANNOTATION)
    if ranges := spec.get("loadBalancerSourceRanges"):
        path = _SPEC.child("LoadBalancerSourceRanges")
        errors += [] if balanced else [path.forbidden(detail)]
        for index, value in enumerate(ranges):
            errors += _validate_cidr(value.strip(), path.index(index))
    elif annotation is not None:
        path = Path("metadata").child("annotations").key(_RANGES_ANNOTATION)
        errors += [] if balanced else [path.forbidden(detail)]
        for value in annotation.strip().split(",") if annotation.strip() else ():
            errors += _validate_cidr(value.strip(), path)
    if not balanced:
        fields = ("allocateLoadBalancerNodePorts", "loadBalancerClass")
        return errors + [_SPEC.child(name).forbidden(detail) for name in fields if spec.get(name) is not None]
    if (name := spec.get("loadBalancerClass")) is not None:
        errors += invalid_all(_SPEC.child("loadBalancerClass"), name, names.check_qualified_name(name))
    return errors


def _validate_cidr(value: str, path: Path) -> list[FieldError]:
    try:
        if "/" in value:
            ipaddress.ip_network(value, strict=False)
            return []
    except ValueError:
        pass
    return [path.invalid(value, _BAD_CIDR)]


def _validate_traffic(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    external = spec.get("externalTrafficPolicy") or ""
    path = _SPEC.child("externalTrafficPolicy")
    if _is_external(spec):
        errors += one_of(path, external, _TRAFFIC_POLICIES)
    elif external:
        errors.append(path.invalid(external, "may only be set for externally-accessible services"))
    check_port = spec.get("healthCheckNodePort")
    if check_port and not (spec.get("type") == "LoadBalancer" and external == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(_SPEC.child("healthCheckNodePort").invalid(check_port, detail))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in _TRAFFIC_POLICIES:
        errors.append(_SPEC.child("internalTrafficPolicy").not_supported(internal, _TRAFFIC_POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(_SPEC.child("trafficDistribution").not_supported(distribution, _DISTRIBUTIONS))
    return errors


def validate_service_update(new: Object, old: Object) -> list[FieldError]:
    """Cluster addresses stay; the rest is as for a new Service."""
    spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
    errors: list[FieldError] = []
    if "ExternalName" not in (spec.get("type"), old_spec.get("type")):
        addresses, before = cluster_ips(spec), cluster_ips(old_spec)
        path = _SPEC.child("clusterIPs").index(0)
        if before and not addresses:
            errors.append(path.invalid(addresses, "primary clusterIP can not be unset"))
        elif before and addresses[0] != before[0]:
            errors.append(path.invalid(addresses, "may not change once set"))
        families, old_families = spec.get("ipFamilies") or [], old_spec.get("ipFamilies") or []
        if old_families and families and families[0] != old_families[0]:
            errors.append(_SPEC.child("ipFamilies").index(0).invalid(families, "may not change once set"))
    if spec.get("type") == old_spec.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != old_spec.get("loadBalancerClass"):
            errors.append(_SPEC.child("loadBalancerClass").invalid(name, "may not change once set"))
    return errors + validate_service(new) + _validate_health_check_port_kept(spec, old_spec)


def _validate_health_check_port_kept(spec: Mapping[str, Any], old_spec: Mapping[str, Any]) -> list[FieldError]:
    new, old = spec.get("healthCheckNodePort") or 0, old_spec.get("healthCheckNodePort") or 0
    if not (_needs_health_check(spec) and _needs_health_check(old_spec)) or new in (0, old) or not old:
        return []
    detail = "cannot change healthCheckNodePort on loadBalancer service with externalTraffic=Local during update"
    return [_SPEC.child("healthCheckNodePort").invalid(new, detail)]


def _needs_health_check(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
