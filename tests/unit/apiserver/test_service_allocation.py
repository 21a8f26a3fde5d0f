"""Cluster addresses and node ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit.clock import FakeClock
from podhost.api.field_errors import FieldError
from podhost.api.warnings import service_warnings
from podhost.apiserver.service_allocation import ServiceAllocator
from podhost.store import ObjectKey, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "db", FakeClock())
    yield opened
    opened.close()


@pytest.fixture
def allocator(store: Store) -> ServiceAllocator:
    return ServiceAllocator(store, service_cidr="10.96.0.0/28", node_port_range=(30000, 30003), choose=lambda _: 0)


def service(
    name: str = "web", *, kind: str = "ClusterIP", ports: list[dict[str, Any]] | None = None, **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"type": kind, "ports": [{"port": 80, "protocol": "TCP"}] if ports is None else ports, **spec},
    }


def save(store: Store, allocator: ServiceAllocator, obj: dict[str, Any]) -> dict[str, Any]:
    assert allocator.allocate(obj) == []
    return store.create(ObjectKey("services", "ns", obj["metadata"]["name"]), obj)


def messages(errors: list[FieldError]) -> list[str]:
    return [error.message for error in errors]


def test_service_gets_an_address_and_keeps_it(store: Store, allocator: ServiceAllocator) -> None:
    saved = save(store, allocator, service())
    assert saved["spec"]["clusterIP"] == "10.96.0.1"
    assert saved["spec"]["clusterIPs"] == ["10.96.0.1"]
    again = service(clusterIP="10.96.0.1", clusterIPs=["10.96.0.1"])
    assert allocator.allocate(again) == []
    assert again["spec"]["clusterIP"] == "10.96.0.1"


def test_second_service_gets_another_address(store: Store, allocator: ServiceAllocator) -> None:
    save(store, allocator, service("a"))
    assert save(store, allocator, service("b"))["spec"]["clusterIP"] == "10.96.0.2"


def test_reserved_address_is_given_to_who_asks_only(store: Store) -> None:
    allocator = ServiceAllocator(
        store,
        service_cidr="10.96.0.0/28",
        node_port_range=(30000, 30001),
        reserved_ips=("10.96.0.1",),
        choose=lambda _: 0,
    )
    assert save(store, allocator, service("a"))["spec"]["clusterIP"] == "10.96.0.2"
    assert save(store, allocator, service("dns", clusterIP="10.96.0.1"))["spec"]["clusterIP"] == "10.96.0.1"


def test_headless_service_gets_none(allocator: ServiceAllocator) -> None:
    obj = service(clusterIP="None")
    assert allocator.allocate(obj) == []
    assert obj["spec"]["clusterIPs"] == ["None"]


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, "SingleStack", ["IPv4"]),
        ({"clusterIP": "None", "selector": {"a": "b"}}, "SingleStack", ["IPv4"]),
        ({"clusterIP": "None"}, "RequireDualStack", ["IPv4", "IPv6"]),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, "SingleStack", ["IPv4"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4"]),
    ],
)
def test_families_are_those_of_a_cluster_with_one(
    allocator: ServiceAllocator, spec: dict[str, Any], policy: str, families: list[str]
) -> None:
    obj = service(**spec)
    assert allocator.allocate(obj) == []
    assert (obj["spec"]["ipFamilyPolicy"], obj["spec"]["ipFamilies"]) == (policy, families)
    assert not [text for text in service_warnings(obj) if "IPv6" in text]


def test_external_name_has_neither_address_nor_ports(allocator: ServiceAllocator) -> None:
    obj = service(kind="ExternalName", clusterIP="10.96.0.3", ports=[{"port": 80, "nodePort": 30000}])
    assert allocator.allocate(obj) == []
    assert "clusterIP" not in obj["spec"]
    assert "nodePort" not in obj["spec"]["ports"][0]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"ipFamilyPolicy": "PreferDualStack"}, []),
        ({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack"}, []),
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            [
                'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
                "this cluster is not configured for dual-stack services"
            ],
        ),
        (
            {"ipFamilies": ["IPv6"]},
            ['spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
        ),
        (
            {"ipFamilies": ["IPv4", "IPv6"]},
            [
                'spec.ipFamilyPolicy: Invalid value: "SingleStack": '
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
            ],
        ),
        (
            {"clusterIP": "fd00::1"},
            ['spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster'],
        ),
        (
            {"clusterIP": "None", "selector": {"a": "b"}, "ipFamilies": ["IPv6"]},
            ['spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
        ),
    ],
)
def test_families_are_those_of_the_cluster(
    allocator: ServiceAllocator, spec: dict[str, Any], expected: list[str]
) -> None:
    obj = service(ports=[{"port": 80}])
    obj["spec"] |= spec
    assert messages(allocator.allocate(obj)) == expected


def test_taken_address_is_refused(store: Store, allocator: ServiceAllocator) -> None:
    save(store, allocator, service("a"))
    (message,) = messages(allocator.allocate(service("b", clusterIP="10.96.0.1")))
    assert message.startswith('spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1')
    assert message.endswith("provided IP is already allocated")


@pytest.mark.parametrize("address", ["10.97.0.1", "10.96.0.0", "10.96.0.15"])
def test_address_outside_of_the_range_is_refused(allocator: ServiceAllocator, address: str) -> None:
    (message,) = messages(allocator.allocate(service(clusterIP=address)))
    assert "The range of valid IPs is 10.96.0.0/28" in message


def test_full_address_range_is_said(store: Store, allocator: ServiceAllocator) -> None:
    addresses = {save(store, allocator, service(f"s{n}"))["spec"]["clusterIP"] for n in range(14)}
    assert len(addresses) == 14
    assert "range is full" in messages(allocator.allocate(service("one-more")))[0]


def test_node_port_is_chosen_and_a_taken_one_refused(store: Store, allocator: ServiceAllocator) -> None:
    saved = save(store, allocator, service("a", kind="NodePort"))
    assert saved["spec"]["ports"][0]["nodePort"] == 30000
    clash = service("b", kind="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30000}])
    assert messages(allocator.allocate(clash)) == [
        "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"
    ]


def test_one_service_asking_twice_for_a_port_is_refused(allocator: ServiceAllocator) -> None:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 30001}, {"port": 81, "protocol": "TCP", "nodePort": 30001}]
    errors = messages(allocator.allocate(service(kind="NodePort", ports=ports)))
    assert errors == ["spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated"]


def test_port_outside_of_the_range_is_refused(allocator: ServiceAllocator) -> None:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 80}]
    assert messages(allocator.allocate(service(kind="NodePort", ports=ports))) == [
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. "
        "The range of valid ports is 30000-30003"
    ]


def test_same_service_port_on_tcp_and_udp_gets_the_same_node_port(allocator: ServiceAllocator) -> None:
    ports = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 54, "protocol": "TCP"}]
    obj = service(kind="NodePort", ports=ports)
    assert allocator.allocate(obj) == []
    assert [port["nodePort"] for port in obj["spec"]["ports"]] == [30000, 30000, 30001]


def test_full_port_range_is_said(store: Store, allocator: ServiceAllocator) -> None:
    save(store, allocator, service("a", kind="NodePort", ports=[{"port": n, "protocol": "TCP"} for n in range(1, 5)]))
    assert "range is full" in messages(allocator.allocate(service("b", kind="NodePort")))[0]


def test_back_to_cluster_ip_the_node_ports_are_free_again(store: Store, allocator: ServiceAllocator) -> None:
    saved = save(store, allocator, service("a", kind="NodePort"))
    changed = service("a", ports=[dict(saved["spec"]["ports"][0])], clusterIP=saved["spec"]["clusterIP"])
    assert allocator.allocate(changed) == []
    assert "nodePort" not in changed["spec"]["ports"][0]
    store.update(ObjectKey("services", "ns", "a"), changed)
    assert save(store, allocator, service("b", kind="NodePort"))["spec"]["ports"][0]["nodePort"] == 30000


def test_deleted_service_gives_everything_back(store: Store, allocator: ServiceAllocator) -> None:
    save(store, allocator, service("a", kind="NodePort"))
    store.delete(ObjectKey("services", "ns", "a"))
    saved = save(store, allocator, service("b", kind="NodePort"))
    assert (saved["spec"]["clusterIP"], saved["spec"]["ports"][0]["nodePort"]) == ("10.96.0.1", 30000)


def test_allocations_survive_a_restart(store: Store, allocator: ServiceAllocator) -> None:
    save(store, allocator, service("a", kind="NodePort"))
    again = ServiceAllocator(store, service_cidr="10.96.0.0/28", node_port_range=(30000, 30003), choose=lambda _: 0)
    obj = service("b", kind="NodePort")
    assert again.allocate(obj) == []
    assert (obj["spec"]["clusterIP"], obj["spec"]["ports"][0]["nodePort"]) == ("10.96.0.2", 30001)


def test_local_load_balancer_gets_a_health_check_port(allocator: ServiceAllocator) -> None:
    obj = service(kind="LoadBalancer", externalTrafficPolicy="Local")
    assert allocator.allocate(obj) == []
    assert obj["spec"]["healthCheckNodePort"] == 30001
