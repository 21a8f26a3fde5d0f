"""Rulesets, and the way from one to the next."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from podhost.proxy.rules import Ruleset, build_chain_name, compile_service, render_change, render_table
from podhost.proxy.services import Endpoint, ServicePort
from podhost.proxy.settings import ProxySettings

SETTINGS = ProxySettings(
    table="t", link_prefix="ph0-", gateway=IPv4Address("10.0.0.1"), service_cidr=IPv4Network("10.1.0.0/16")
)
PORT = ServicePort(
    namespace="ns",
    service="web",
    name="http",
    protocol="tcp",
    cluster_ip="10.1.0.5",
    port=80,
    node_port=30080,
    affinity_s=0,
    endpoints=(Endpoint("10.0.0.2", 8080), Endpoint("10.0.0.3", 8080)),
)


def test_service_port_with_endpoints() -> None:
    ruleset = compile_service([PORT])
    chain = build_chain_name(PORT)
    assert ruleset.chains == {
        chain: ("meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.0.0.2 . 8080, 1 : 10.0.0.3 . 8080 }",)
    }
    assert ruleset.elements["service_ips", "10.1.0.5 . tcp . 80"] == f"goto {chain}"
    assert ruleset.elements["node_ports", "tcp . 30080"] == f"goto {chain}"
    assert ("hairpin", "10.0.0.2 . 10.0.0.2") in ruleset.elements


def test_service_port_without_endpoints_refuses_its_node_port() -> None:
    assert compile_service([replace(PORT, endpoints=())]).elements == {("refused_node_ports", "tcp . 30080"): ""}
    assert compile_service([replace(PORT, endpoints=(), node_port=0)]) == Ruleset()


def test_affinity_remembers_clients_by_endpoint() -> None:
    ruleset = compile_service([replace(PORT, affinity_s=60)])
    assert len(ruleset.sets) == 2
    assert all("timeout 60s" in text for text in ruleset.sets.values())
    assert len(ruleset.chains) == 3


def test_chain_names_are_short_and_differ() -> None:
    long = replace(PORT, namespace="n" * 63, service="s" * 63)
    assert len(build_chain_name(long)) <= 100
    assert build_chain_name(long) != build_chain_name(replace(long, name="other"))


def test_no_change_renders_nothing() -> None:
    assert render_change(SETTINGS, compile_service([PORT]), compile_service([PORT])) == ""


def test_changed_endpoints_touch_their_chain_only() -> None:
    script = render_change(
        SETTINGS, compile_service([PORT]), compile_service([replace(PORT, endpoints=PORT.endpoints[:1])])
    )
    chain = build_chain_name(PORT)
    assert script.splitlines() == [
        f"flush chain ip t {chain}",
        f"add rule ip t {chain} meta l4proto tcp dnat ip to 10.0.0.2:8080",
        "delete element ip t hairpin { 10.0.0.3 . 10.0.0.3 }",
    ]


def test_whole_table_replaces_what_was_there() -> None:
    script = render_table(SETTINGS, compile_service([PORT]))
    assert script.startswith("table ip t\ndelete table ip t\ntable ip t {\n")
    assert "snat ip to 10.0.0.1" in script


ports = st.builds(
    ServicePort,
    namespace=st.just("ns"),
    service=st.sampled_from(["a", "b", "c"]),
    name=st.just("p"),
    protocol=st.sampled_from(["tcp", "udp"]),
    cluster_ip=st.just("10.1.0.5"),
    port=st.integers(1, 3),
    node_port=st.integers(0, 2),
    affinity_s=st.sampled_from([0, 60]),
    endpoints=st.lists(
        st.builds(Endpoint, st.sampled_from(["10.0.0.2", "10.0.0.3"]), st.integers(1, 2)), max_size=3
    ).map(lambda found: tuple(sorted(set(found)))),
)


class Kernel:
    """Carries scripts out as nftables would, refusing what it refuses."""

    def __init__(self) -> None:
        self.state = Ruleset()

    def apply(self, script: str) -> None:
        for line in script.splitlines():
            verb, kind, rest = re.fullmatch(r"(add|delete|flush) (\w+) ip t (.*)", line).groups()  # type: ignore[union-attr]
            getattr(self, f"{verb}_{kind}")(*rest.partition(" ")[::2])

    def add_set(self, name: str, text: str) -> None:
        self.state.sets[name] = text

    def delete_set(self, name: str, _: str) -> None:
        assert not any(f"@{name} " in rule for rules in self.state.chains.values() for rule in rules)
        del self.state.sets[name]

    def add_chain(self, name: str, _: str) -> None:
        self.state.chains[name] = ()

    def flush_chain(self, name: str, _: str) -> None:
        assert name in self.state.chains
        self.state.chains[name] = ()

    def delete_chain(self, name: str, _: str) -> None:
        assert self.state.chains[name] == ()
        assert f"goto {name}" not in self.state.elements.values()
        assert not any(f"goto {name}" in rule for rules in self.state.chains.values() for rule in rules)
        del self.state.chains[name]

    def add_rule(self, name: str, rule: str) -> None:
        assert all(target in self.state.chains for target in re.findall(r"goto ([^ ,]+)", rule))
        self.state.chains[name] += (rule,)

    def add_element(self, name: str, text: str) -> None:
        for item in text.strip("{ }").split(", "):
            key, _, value = item.partition(" : ")
            assert self.state.elements.get((name, key), value) == value
            self.state.elements[name, key] = value

    def delete_element(self, name: str, text: str) -> None:
        for key in text.strip("{ }").split(", "):
            del self.state.elements[name, key]


@given(st.lists(st.lists(ports, max_size=3), min_size=1, max_size=4))
def test_any_way_of_changes_leads_where_the_whole_would(states: list[list[ServicePort]]) -> None:
    kernel = Kernel()
    before = Ruleset()
    for state in states:
        after = compile_service(state)
        kernel.apply(render_change(SETTINGS, before, after))
        before = after
    assert kernel.state == before
