"""Cluster addresses and node ports of Services.

What is in use is known from the store's own changes, so an allocation needs no record of its own and cannot
leak: it exists as soon as, and as long as, the Service does.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from podhost.api.field_errors import FieldError, Path
from podhost.store import Store, WatchEvent

Obj = dict[str, Any]
PortKey = tuple[str, int]
"""``("TCP", 30080)``: the same number may serve two protocols."""

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
_SPEC = Path("spec")


class ServiceAllocator:
    """Gives Services what they ask for, or what is free."""

    def __init__(
        self,
        store: Store,
        *,
        service_cidr: str,
        node_port_range: tuple[int, int],
        reserved_ips: Iterable[str] = (),
        choose: Callable[[int], int] = random.randrange,
    ) -> None:
        """``choose(n)`` gives a number in ``range(n)``, where the search for something free begins."""
        self._network = ipaddress.ip_network(service_cidr)
        self._ports = range(node_port_range[0], node_port_range[1] + 1)
        self._reserved = frozenset(reserved_ips)
        self._choose = choose
        self._ip_owner: dict[str, str] = {}
        self._port_owner: dict[PortKey, str] = {}
        for service in store.list("services")[0]:
            self._hold(service)
        self.stop = store.subscribe("services", self._on_change)

    def allocate(self, service: Obj) -> list[FieldError]:
        """Fill in the addresses and ports that ``service``, a private copy, lacks.

        Returns what cannot be given, as validation errors; then ``service`` is to be thrown away.
        """
        spec = service["spec"]
        kind = spec.get("type", "ClusterIP")
        if kind == "ExternalName":
            _drop_allocations(spec)
            return []
        owner = _owner(service)
        problems = _complete_families(spec) or self._allocate_ip(spec, owner)
        if kind in _WITH_NODE_PORTS and spec.get("allocateLoadBalancerNodePorts", True) is not False:
            problems += self._allocate_ports(spec, owner)
        elif kind not in _WITH_NODE_PORTS:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
        return problems

    def _allocate_ip(self, spec: Obj, owner: str) -> list[FieldError]:
        wanted = spec.get("clusterIP") or ""
        if wanted == "None":
            spec["clusterIPs"] = ["None"]
            return []
        if wanted:
            problem = self._check_ip(wanted, owner)
            if problem:
                return [_SPEC.child("clusterIPs").invalid([wanted], problem)]
        else:
            free = self._free_ip()
            if free is None:
                detail = "failed to allocate a serviceIP: range is full"
                return [_SPEC.child("clusterIPs").invalid(None, detail)]
            wanted = free
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = [wanted]
        return []

    def _check_ip(self, wanted: str, owner: str) -> str:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        inside = address in self._network
        if not inside or address in (self._network.network_address, self._network.broadcast_address):
            return (
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {self._network}"
            )
        if self._ip_owner.get(wanted, owner) != owner:
            return f"failed to allocate IP {wanted}: provided IP is already allocated"
        return ""

    def _free_ip(self) -> str | None:
        # The first addresses are left to Services that ask for one (the API's own, DNS), as in KEP-3070.
        count = self._network.num_addresses - 2
        low = min(16, count // 16)
        start = self._choose(count - low) if count > low else 0
        for step in range(count):
            offset = low + (start + step) % (count - low) if step < count - low else step - (count - low)
            address = str(self._network[1 + offset])
            if address not in self._ip_owner and address not in self._reserved:
                return address
        return None

    def _allocate_ports(self, spec: Obj, owner: str) -> list[FieldError]:
        problems: list[FieldError] = []
        taken: dict[PortKey, int] = {}
        ports = spec.get("ports") or []
        for index, port in enumerate(ports):
            number = port.get("nodePort")
            if not number:
                continue
            field = _SPEC.child("ports").index(index).child("nodePort")
            detail = self._check_port((port.get("protocol", "TCP"), number), owner, taken)
            if detail:
                problems.append(field.invalid(number, detail))
            taken[(port.get("protocol", "TCP"), number)] = port["port"]
        for index, port in enumerate(ports):
            if not port.get("nodePort") and not problems:
                number = self._free_port(port, taken)
                if number is None:
                    field = _SPEC.child("ports").index(index).child("nodePort")
                    return [field.invalid(0, "failed to allocate a nodePort: range is full")]
                port["nodePort"] = number
                taken[(port.get("protocol", "TCP"), number)] = port["port"]
        if not problems:
            problems += self._allocate_health_check_port(spec, owner)
        return problems

    def _check_port(self, key: PortKey, owner: str, taken: dict[PortKey, int]) -> str:
        if key[1] not in self._ports:
            first, last = self._ports[0], self._ports[-1]
            return f"provided port is not in the valid range. The range of valid ports is {first}-{last}"
        if self._port_owner.get(key, owner) != owner or key in taken:
            return "provided port is already allocated"
        return ""

    def _free_port(self, port: Obj, taken: dict[PortKey, int]) -> int | None:
        protocol = port.get("protocol", "TCP")
        # DNS on TCP and UDP: the same service port gets the same node port, as Kubernetes does it.
        for (_, number), service_port in taken.items():
            key = (protocol, number)
            if service_port == port["port"] and key not in taken and key not in self._port_owner:
                return number
        used = {number for _, number in self._port_owner} | {number for _, number in taken}
        start = self._choose(len(self._ports))
        for step in range(len(self._ports)):
            number = self._ports[(start + step) % len(self._ports)]
            if number not in used:
                return number
        return None

    def _allocate_health_check_port(self, spec: Obj, owner: str) -> list[FieldError]:
        if spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
            spec.pop("healthCheckNodePort", None)
            return []
        number = spec.get("healthCheckNodePort")
        if number:
            detail = self._check_port(("TCP", number), owner, {})
            return [_SPEC.child("healthCheckNodePort").invalid(number, detail)] if detail else []
        taken = {(port.get("protocol", "TCP"), port["nodePort"]): -1 for port in spec.get("ports") or ()}
        free = self._free_port({"port": 0}, taken)
        if free is not None:
            spec["healthCheckNodePort"] = free
        return []

    def _on_change(self, event: WatchEvent) -> None:
        if event.previous is not None:
            self._release(event.previous)
        if event.type != "DELETED":
            self._hold(event.object)

    def _release(self, service: Obj) -> None:
        for address in _addresses(service):
            self._ip_owner.pop(address, None)
        for key in _node_ports(service):
            self._port_owner.pop(key, None)

    def _hold(self, service: Obj) -> None:
        owner = _owner(service)
        self._ip_owner.update((address, owner) for address in _addresses(service))
        self._port_owner.update((key, owner) for key in _node_ports(service))


def _addresses(service: Obj) -> list[str]:
    return [address for address in service["spec"].get("clusterIPs") or () if address != "None"]


def _node_ports(service: Obj) -> list[PortKey]:
    spec = service["spec"]
    ports = spec.get("ports") or ()
    keys = [(port.get("protocol", "TCP"), port["nodePort"]) for port in ports if port.get("nodePort")]
    return [*keys, ("TCP", spec["healthCheckNodePort"])] if spec.get("healthCheckNodePort") else keys


def _complete_families(spec: Obj) -> list[FieldError]:
    """As Kubernetes does it on a cluster of IPv4 alone; a headless Service without selector may have both families."""
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    headless = spec.get("clusterIP") == "None"
    anything = headless and not spec.get("selector")
    if not policy:
        policy = "RequireDualStack" if anything else "SingleStack"
    problems = _check_families(policy, families, () if headless else addresses, lenient=anything)
    families = families or ["IPv4"]
    if anything and policy != "SingleStack" and len(families) == 1:
        families = [*families, "IPv6" if families[0] == "IPv4" else "IPv4"]
    spec["ipFamilyPolicy"], spec["ipFamilies"] = policy, families
    return problems


def _check_families(policy: str, families: list[str], addresses: Sequence[str], *, lenient: bool) -> list[FieldError]:
    """What one family of addresses cannot give."""
    at, problems = _SPEC.child("ipFamilyPolicy"), []
    for count, what in ((len(addresses), "cluster IPs"), (len(families), "IP families")):
        if policy == "SingleStack" and count == 2:
            detail = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            problems.append(at.invalid(policy, detail))
    for index, address in enumerate(addresses):
        if index >= len(families) and ":" in address:
            detail = "IPv6 is not configured on this cluster"
            problems.append(_SPEC.child("clusterIPs").index(index).invalid(list(addresses), detail))
    if problems or lenient:
        return problems
    if policy == "RequireDualStack":
        problems.append(at.invalid(policy, "this cluster is not configured for dual-stack services"))
    for index, family in enumerate(families):
        if family != "IPv4":
            path = _SPEC.child("ipFamilies").index(index)
            problems.append(path.invalid(family, "not configured on this cluster"))
    return problems


def _owner(service: Obj) -> str:
    metadata = service["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _drop_allocations(spec: Obj) -> None:
    for field in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
        spec.pop(field, None)
    for port in spec.get("ports") or ():
        port.pop("nodePort", None)
