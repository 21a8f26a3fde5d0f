"""The nftables table of one instance's pod network.  Pure.

What the chains are for:

``raw``: before connection tracking.  A pod must never reach the host's 127/8 (``route_localnet`` on its link,
which host ports on 127.0.0.1 need, would open it: CVE-2020-8558), nor speak under an address that is not a
pod's; machines around the host reach pods through services and host ports only, never by routing.
``output``: the kernel tells a sender whose packets leave by the link they came by of a shorter way; a pod has
none, so such redirects must not leave.
``nat_*``: host ports.  ``postrouting``: what keeps its source address and what cannot: traffic to the world, a
pod that reaches itself by way of the host, and connections from the host's loopback.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from podhost.cri.runtime import PortMapping
from podhost.network.addresses import Attachment
from podhost.network.settings import NetworkSettings, build_link_prefix

HOST_PORTS = "host_ports"
"""Map of the ports that are published on every address of the host."""
HOST_IP_PORTS = "host_ip_ports"
"""Map of those that are published on one address."""

_TABLE = """\
table ip {table} {{
  map host_ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; {any_ports} }}
  map host_ip_ports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {ip_ports} }}
  set hairpin {{ type ipv4_addr . ipv4_addr; {hairpin} }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{links}*" ip daddr 127.0.0.0/8 drop
    iifname "{links}*" ip saddr != {pods} drop
    iifname "{links}*" accept
    iifname != "lo" ip daddr {{ {pods}, {services} }} drop
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oifname "{links}*" icmp type redirect drop
  }}
  chain host_port {{
    fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @host_ip_ports
    fib daddr type local dnat ip to meta l4proto . th dport map @host_ports
  }}
  chain nat_prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump host_port
  }}
  chain nat_output {{
    type nat hook output priority -100; policy accept;
    jump host_port
  }}
  chain nat_postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{links}*" ip saddr 127.0.0.0/8 snat ip to {gateway}
    oifname "{links}*" ip saddr . ip daddr @hairpin snat ip to {gateway}
    oifname "{links}*" accept
    oifname != "lo" ip saddr {pods} masquerade
  }}
}}
"""


def compile_table(settings: NetworkSettings, attachments: Iterable[Attachment]) -> str:
    """The whole table as a script that replaces whatever there was, in one transaction."""
    elements: dict[str, list[str]] = {HOST_PORTS: [], HOST_IP_PORTS: [], "hairpin": []}
    for attachment in attachments:
        for name, element in _elements(attachment):
            elements[name].append(element)
    body = _TABLE.format(
        table=settings.table,
        links=build_link_prefix(settings.bridge),
        gateway=settings.gateway,
        pods=settings.pod_cidr,
        services=settings.service_cidr,
        any_ports=_clause(elements[HOST_PORTS]),
        ip_ports=_clause(elements[HOST_IP_PORTS]),
        hairpin=_clause(elements["hairpin"]),
    )
    return f"table ip {settings.table}\ndelete table ip {settings.table}\n{body}"


def compile_attachment(table: str, attachment: Attachment) -> str:
    """What one sandbox's host ports add; empty without any."""
    return "".join(f"add element ip {table} {name} {{ {element} }}\n" for name, element in _elements(attachment))


def compile_detachment(table: str, attachment: Attachment) -> str:
    """The opposite of :func:`compile_attachment`; valid whether the elements are there or not."""
    # Adding an element that exists is no error in nftables, deleting one that does not is.
    lines = []
    for name, element in _elements(attachment):
        key = element.partition(" : ")[0]
        lines.append(f"add element ip {table} {name} {{ {element} }}\ndelete element ip {table} {name} {{ {key} }}\n")
    return "".join(lines)


def _elements(attachment: Attachment) -> list[tuple[str, str]]:
    found = [_port_element(attachment.address, port) for port in attachment.host_ports]
    if found:
        found.append(("hairpin", f"{attachment.address} . {attachment.address}"))
    return found


def _port_element(address: IPv4Address, port: PortMapping) -> tuple[str, str]:
    key = f"{port.protocol.lower()} . {port.host_port}"
    target = f"{address} . {port.container_port}"
    if port.host_ip in ("", "0.0.0.0"):
        return HOST_PORTS, f"{key} : {target}"
    return HOST_IP_PORTS, f"{port.host_ip} . {key} : {target}"


def _clause(elements: list[str]) -> str:
    return f"elements = {{ {', '.join(elements)} }};" if elements else ""
