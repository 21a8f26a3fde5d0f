"""Where the proxy subresources lead."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api.errors import ApiError
from podhost.apiserver.proxy_target import (
    ProxyName,
    Target,
    find_pod_target,
    find_service_port,
    find_service_target,
    is_address_of,
    parse_name,
)


def pod(ip: str = "10.0.0.5", *ports: int) -> dict[str, Any]:
    containers = [{"name": "a"}, {"name": "b", "ports": [{"containerPort": port} for port in ports]}]
    return {"spec": {"containers": containers}, "status": {"podIPs": [{"ip": ip}] if ip else []}}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", ProxyName("", "web", "")),
        ("web:80", ProxyName("", "web", "80")),
        ("web:http", ProxyName("", "web", "http")),
        ("https:web:443", ProxyName("https", "web", "443")),
        ("https:web:", ProxyName("https", "web", "")),
        (":web:", ProxyName("", "web", "")),
    ],
)
def test_name_may_have_scheme_and_port(text: str, name: ProxyName) -> None:
    assert parse_name(text, "pod") == name


@pytest.mark.parametrize("text", ["", ":80", "ftp:web:21", "a:b:c:d", "http::80"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_name(text, "service")
    assert (caught.value.code, caught.value.message) == (400, f'invalid service request "{text}"')


@pytest.mark.parametrize(
    ("name", "ports", "target"),
    [
        ("web", (8080, 9090), Target("http", "10.0.0.5", 8080)),
        ("web", (), Target("http", "10.0.0.5", 80)),
        ("https:web:", (), Target("https", "10.0.0.5", 443)),
        ("https:web:8443", (8080,), Target("https", "10.0.0.5", 8443)),
    ],
)
def test_pod_is_reached_at_the_named_port_or_its_first(name: str, ports: tuple[int, ...], target: Target) -> None:
    assert find_pod_target(parse_name(name, "pod"), pod("10.0.0.5", *ports)) == target


@pytest.mark.parametrize("ip", ["", "127.0.0.1", "169.254.1.1", "224.0.0.1", "::1", "0.0.0.0", "fe80::1"])
def test_addresses_that_are_nobody_elses_business_are_not_reached(ip: str) -> None:
    with pytest.raises(ApiError, match="address not allowed"):
        find_pod_target(parse_name("web:80", "pod"), pod(ip))


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_what_is_no_port_is_unavailable(port: str) -> None:
    with pytest.raises(ApiError, match="error trying to reach service: dial tcp") as caught:
        find_pod_target(parse_name(f"web:{port}", "pod"), pod())
    assert caught.value.code == 503


def test_host_of_an_ipv6_address_is_in_brackets() -> None:
    assert Target("http", "fd00::5", 80).host == "[fd00::5]:80"


SERVICE = {"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 90}]}}
ENDPOINTS = {
    "subsets": [
        {"addresses": [{"ip": "10.0.0.5"}], "ports": [{"name": "web", "port": 8080}, {"port": 9090}]},
        {"addresses": [{"ip": "10.0.0.6"}], "ports": [{"name": "web", "port": 8081}]},
        {"notReadyAddresses": [{"ip": "10.0.0.7"}], "ports": [{"name": "web", "port": 8080}]},
    ]
}


@pytest.mark.parametrize(
    ("name", "port"), [("s:80", "web"), ("s:90", ""), ("s:web", "web"), ("s:what", "what"), ("s", "")]
)
def test_port_of_a_service_by_number_or_name(name: str, port: str) -> None:
    assert find_service_port(parse_name(name, "service"), SERVICE) == port


def test_service_without_the_port_says_so() -> None:
    with pytest.raises(ApiError, match='no service port 81 found for service "s"'):
        find_service_port(parse_name("s:81", "service"), SERVICE)


def find(name: str, port: str, index: int = 0, *, real: bool = True) -> Target:
    return find_service_target(
        parse_name(name, "service"), port, ENDPOINTS, is_pod=lambda _: real, choose=lambda count: index % count
    )


def test_ready_addresses_of_all_subsets_are_chosen_from() -> None:
    assert [find("s", "web", index) for index in range(3)] == [
        Target("http", "10.0.0.5", 8080),
        Target("http", "10.0.0.6", 8081),
        Target("http", "10.0.0.5", 8080),
    ]
    assert find("https:s:", "") == Target("https", "10.0.0.5", 9090)


@pytest.mark.parametrize(("port", "real"), [("nope", True), ("web", False)])
def test_service_without_a_pod_behind_it_is_unavailable(port: str, real: bool) -> None:
    with pytest.raises(ApiError, match='no endpoints available for service "s"') as caught:
        find("s", port, real=real)
    assert caught.value.code == 503


def test_address_must_be_that_of_its_pod() -> None:
    assert is_address_of({"ip": "10.0.0.5"}, pod())
    assert not is_address_of({"ip": "10.0.0.9"}, pod())
    assert not is_address_of({"ip": "10.0.0.5"}, None)
