"""Which names a Service or a Pod brings: one row a shape of the specification."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.dns.records import Record, compute_pod_records, compute_service_records

BASE = "web.shop.svc.cluster.local"


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


def slice_of(*endpoints: dict[str, Any], ports: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"addressType": "IPv4", "endpoints": list(endpoints), "ports": list(ports)}


def endpoint(address: str, *, ready: bool | None = None, hostname: str = "") -> dict[str, Any]:
    conditions = {} if ready is None else {"ready": ready}
    return {"addresses": [address], "conditions": conditions, **({"hostname": hostname} if hostname else {})}


HTTP = {"name": "http", "port": 80, "protocol": "TCP"}


@pytest.mark.parametrize(
    ("spec", "slices", "expected"),
    [
        pytest.param(
            {"clusterIP": "10.0.0.9", "ports": [HTTP, {"port": 81}]},
            (),
            {
                (BASE, "A", "10.0.0.9"),
                ("9.0.0.10.in-addr.arpa", "PTR", f"{BASE}."),
                (f"_http._tcp.{BASE}", "SRV", f"0 100 80 {BASE}."),
            },
            id="a cluster address, and SRV records of named ports only",
        ),
        pytest.param(
            {"clusterIP": "None", "ports": [HTTP]},
            (slice_of(endpoint("10.1.0.2"), endpoint("10.1.0.3", hostname="B"), ports=({**HTTP, "port": 8080},)),),
            {
                (BASE, "A", "10.1.0.2"),
                (BASE, "A", "10.1.0.3"),
                (f"10-1-0-2.{BASE}", "A", "10.1.0.2"),
                (f"b.{BASE}", "A", "10.1.0.3"),
                ("2.0.1.10.in-addr.arpa", "PTR", f"10-1-0-2.{BASE}."),
                ("3.0.1.10.in-addr.arpa", "PTR", f"b.{BASE}."),
                (f"_http._tcp.{BASE}", "SRV", f"0 100 8080 10-1-0-2.{BASE}."),
                (f"_http._tcp.{BASE}", "SRV", f"0 100 8080 b.{BASE}."),
            },
            id="headless: each ready endpoint under its own name, with the port of the pod",
        ),
        pytest.param(
            {"clusterIP": "None"},
            (slice_of(endpoint("10.1.0.2", ready=False)), {**slice_of(endpoint("fd00::2")), "addressType": "IPv6"}),
            set(),
            id="endpoints that are not ready, or of the other family, have no name",
        ),
        pytest.param(
            {"type": "ExternalName", "externalName": "Db.Example.com."},
            (),
            {(BASE, "CNAME", "db.example.com.")},
            id="an external name is an alias",
        ),
        pytest.param({"clusterIP": ""}, (), set(), id="a service without an address yet"),
    ],
)
def test_records_of_a_service(
    spec: dict[str, Any], slices: tuple[dict[str, Any], ...], expected: set[tuple[str, str, str]]
) -> None:
    found = compute_service_records(service(**spec), slices, "cluster.local")
    assert {(record.name, record.type, record.data) for record in found} == expected
    assert len(found) == len(expected)


def pod(ip: str | None = "10.1.0.2", phase: str = "Running", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "shop"}, "spec": spec, "status": {"phase": phase, "podIP": ip}}


@pytest.mark.parametrize(
    ("document", "has_name"),
    [
        (pod(), True),
        (pod(None), False),
        (pod(phase="Succeeded"), False),
        (pod(hostNetwork=True), False),
    ],
)
def test_a_pod_has_a_name_while_it_has_an_address_of_its_own(document: dict[str, Any], has_name: bool) -> None:
    expected = (Record("10-1-0-2.shop.pod.cluster.local", "A", "10.1.0.2"),) if has_name else ()
    assert compute_pod_records(document, "cluster.local") == expected
