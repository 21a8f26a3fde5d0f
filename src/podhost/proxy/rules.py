"""Service ports to an nftables ruleset, and from one ruleset to the next.  Pure.

Two maps lead from (cluster address, protocol, port) and from (protocol, node port) to a chain of the service
port, which picks an endpoint; so a packet's way is as short with 2,000 services as with one, and a change of one
service touches its own chain and elements only.  Whatever still wants to an address of the service range after
the translation has no endpoint and is refused at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podhost.proxy.services import Endpoint, ServicePort
from podhost.proxy.settings import ProxySettings

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9/.-]")

_BASE = """\
table ip {table} {{
  map service_ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node_ports {{ type inet_proto . inet_service : verdict; }}
  set refused_node_ports {{ type inet_proto . inet_service; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service_ips
    fib daddr type local meta l4proto . th dport vmap @node_ports
  }}
  chain nat_prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
  chain nat_output {{ type nat hook output priority -100; policy accept; jump services; }}
  chain nat_postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{links}*" ip saddr . ip daddr @hairpin snat ip to {gateway}
  }}
  chain filter_input {{
    type filter hook input priority filter; policy accept;
    fib daddr type local meta l4proto . th dport @refused_node_ports jump refuse
  }}
  chain filter_forward {{ type filter hook forward priority filter; policy accept; ip daddr {services} jump refuse; }}
  chain filter_output {{ type filter hook output priority filter; policy accept; ip daddr {services} jump refuse; }}
}}
"""


@dataclass(slots=True)
class Ruleset:
    """What services add to the base table.  Treated as a value."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Rules by chain name."""
    sets: dict[str, str] = field(default_factory=dict)
    """Declarations by set name."""
    elements: dict[tuple[str, str], str] = field(default_factory=dict)
    """Value (empty in sets) by map or set and key."""

    def add(self, other: Ruleset) -> None:
        self.chains.update(other.chains)
        self.sets.update(other.sets)
        self.elements.update(other.elements)


def compile_service(ports: Iterable[ServicePort]) -> Ruleset:
    """The part of one service."""
    ruleset = Ruleset()
    for port in ports:
        node_key = f"{port.protocol} . {port.node_port}"
        if not port.endpoints:
            if port.node_port:
                ruleset.elements["refused_node_ports", node_key] = ""
            continue
        chain = build_chain_name(port)
        if port.affinity_s:
            _add_sticky_chains(ruleset, chain, port)
        else:
            ruleset.chains[chain] = (_balance(port),)
        ruleset.elements["service_ips", f"{port.cluster_ip} . {port.protocol} . {port.port}"] = f"goto {chain}"
        if port.node_port:
            ruleset.elements["node_ports", node_key] = f"goto {chain}"
        for endpoint in port.endpoints:
            ruleset.elements["hairpin", f"{endpoint.address} . {endpoint.address}"] = ""
    return ruleset


def render_table(settings: ProxySettings, ruleset: Ruleset) -> str:
    """A script that replaces the whole table."""
    table = settings.table
    base = _BASE.format(
        table=table, links=settings.link_prefix, gateway=settings.gateway, services=settings.service_cidr
    )
    return f"table ip {table}\ndelete table ip {table}\n{base}{render_change(settings, Ruleset(), ruleset)}"


def render_change(settings: ProxySettings, old: Ruleset, new: Ruleset) -> str:
    """A script from ``old`` to ``new``; empty when they are equal."""
    table = settings.table
    lines = [f"add set ip {table} {name} {text}" for name, text in new.sets.items() if name not in old.sets]
    changed = [name for name, rules in new.chains.items() if old.chains.get(name) != rules]
    # All chains first: rules go to chains that come later in the text.
    lines += [f"add chain ip {table} {name}" for name in changed if name not in old.chains]
    lines += [f"flush chain ip {table} {name}" for name in changed if name in old.chains]
    lines += [f"add rule ip {table} {name} {rule}" for name in changed for rule in new.chains[name]]
    gone = [key for key, value in old.elements.items() if new.elements.get(key) != value]
    come = [key for key, value in new.elements.items() if old.elements.get(key) != value]
    lines += _render_elements("delete", table, dict.fromkeys(gone, ""))
    lines += _render_elements("add", table, {key: new.elements[key] for key in come})
    unused = [name for name in old.chains if name not in new.chains]
    lines += [f"flush chain ip {table} {name}" for name in unused]
    lines += [f"delete chain ip {table} {name}" for name in unused]
    lines += [f"delete set ip {table} {name}" for name in old.sets if name not in new.sets]
    return "".join(f"{line}\n" for line in lines)


def build_chain_name(port: ServicePort) -> str:
    """Readable, unique by a hash, and within nftables' limit on names."""
    identity = f"{port.namespace}/{port.service}/{port.protocol}/{port.name}"
    return f"svc-{_digest(identity)}-{_NOT_IN_NAMES.sub('', identity)}"[:100].rstrip("/")


def _add_sticky_chains(ruleset: Ruleset, chain: str, port: ServicePort) -> None:
    rules: list[str] = []
    targets: list[str] = []
    for endpoint in port.endpoints:
        # The set goes with the endpoint, so no client is kept with one that has gone.
        suffix = _digest(f"{chain} {endpoint.address} {endpoint.port} {port.affinity_s}")
        clients, own = f"clients-{suffix}", f"ep-{suffix}"
        ruleset.sets[clients] = f"{{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_s}s; }}"
        ruleset.chains[own] = (f"update @{clients} {{ ip saddr }}", _translate(port.protocol, endpoint))
        rules.append(f"ip saddr @{clients} goto {own}")
        targets.append(f"{len(targets)} : goto {own}")
    rules.append(f"numgen random mod {len(targets)} vmap {{ {', '.join(targets)} }}")
    ruleset.chains[chain] = tuple(rules)


def _balance(port: ServicePort) -> str:
    if len(port.endpoints) == 1:
        return _translate(port.protocol, port.endpoints[0])
    targets = ", ".join(f"{n} : {e.address} . {e.port}" for n, e in enumerate(port.endpoints))
    return f"meta l4proto {port.protocol} dnat ip to numgen random mod {len(port.endpoints)} map {{ {targets} }}"


def _translate(protocol: str, endpoint: Endpoint) -> str:
    return f"meta l4proto {protocol} dnat ip to {endpoint.address}:{endpoint.port}"


def _render_elements(verb: str, table: str, elements: Mapping[tuple[str, str], str]) -> list[str]:
    by_map: dict[str, list[str]] = {}
    for (name, key), value in elements.items():
        by_map.setdefault(name, []).append(f"{key} : {value}" if value else key)
    return [f"{verb} element ip {table} {name} {{ {', '.join(items)} }}" for name, items in by_map.items()]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
