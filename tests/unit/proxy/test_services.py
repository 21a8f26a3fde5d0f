"""What services and slices ask of the data path."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.proxy.services import Endpoint, compute_endpoints, compute_service_ports, service_of_slice

HTTP = {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}


def service(**spec: Any) -> dict[str, Any]:
    base = {"clusterIP": "10.0.0.1", "type": "ClusterIP", "ports": [HTTP]}
    return {"metadata": {"namespace": "ns", "name": "web"}, "spec": base | spec}


def slice_of(*endpoints: tuple[str, dict[str, bool]], **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": conditions} for address, conditions in endpoints],
        **fields,
    }


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        ({}, 1),
        ({"clusterIP": "None"}, 0),
        ({"clusterIP": ""}, 0),
        ({"clusterIP": "fd00::1"}, 0),
        ({"type": "ExternalName"}, 0),
        ({"ports": [HTTP, {"name": "dns", "port": 53, "protocol": "UDP"}]}, 2),
        ({"ports": None}, 0),
    ],
)
def test_which_services_have_ports(spec: dict[str, Any], ports: int) -> None:
    assert len(compute_service_ports(service(**spec), [])) == ports


@pytest.mark.parametrize(("kind", "expected"), [("ClusterIP", 0), ("NodePort", 30080), ("LoadBalancer", 30080)])
def test_node_port_counts_for_the_types_that_have_one(kind: str, expected: int) -> None:
    assert compute_service_ports(service(type=kind), [])[0].node_port == expected


def test_affinity_lasts_three_hours_unless_said_otherwise() -> None:
    assert compute_service_ports(service(), [])[0].affinity_s == 0
    assert compute_service_ports(service(sessionAffinity="ClientIP"), [])[0].affinity_s == 10800
    config = {"clientIP": {"timeoutSeconds": 60}}
    sticky = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
    assert compute_service_ports(sticky, [])[0].affinity_s == 60


READY = {"ready": True}
LEAVING = {"ready": False, "serving": True, "terminating": True}


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([("10.1.0.3", READY), ("10.1.0.2", {})], ["10.1.0.2", "10.1.0.3"]),
        ([("10.1.0.2", {"ready": False})], []),
        ([("10.1.0.2", READY), ("10.1.0.3", LEAVING)], ["10.1.0.2"]),
        ([("10.1.0.3", LEAVING)], ["10.1.0.3"]),
        ([("10.1.0.3", {**LEAVING, "serving": False})], []),
    ],
)
def test_which_endpoints_are_used(endpoints: list[tuple[str, dict[str, bool]]], expected: list[str]) -> None:
    found = compute_endpoints("http", "TCP", [slice_of(*endpoints)])
    assert found == tuple(Endpoint(address, 8080) for address in expected)


def test_endpoints_are_of_the_ports_name_and_protocol_and_of_ipv4() -> None:
    one = slice_of(("10.1.0.2", READY))
    assert compute_endpoints("other", "TCP", [one]) == ()
    assert compute_endpoints("http", "UDP", [one]) == ()
    assert compute_endpoints("http", "TCP", [{**one, "addressType": "IPv6"}]) == ()
    assert len(compute_endpoints("http", "TCP", [one, slice_of(("10.1.0.9", READY))])) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "1.2.3.4; drop", "x"])
def test_slices_of_users_cannot_lead_to_the_hosts_loopback_or_break_the_rules(address: str) -> None:
    assert compute_endpoints("http", "TCP", [slice_of((address, READY))]) == ()


@pytest.mark.parametrize("port", [None, 0, 65536, "80; drop"])
def test_ports_that_are_none_are_left_out(port: Any) -> None:
    odd = slice_of(("10.1.0.2", READY), ports=[{"name": "http", "port": port, "protocol": "TCP"}])
    assert compute_endpoints("http", "TCP", [odd]) == ()


def test_slice_belongs_to_the_service_of_its_label() -> None:
    assert service_of_slice(slice_of()) == ("ns", "web")
    assert service_of_slice({"metadata": {"namespace": "ns", "name": "x"}}) is None
