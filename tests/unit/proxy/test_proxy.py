"""The loop: one transaction for a turn's writes, only what changed, everything after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.errors import UnavailableError
from podhost.proxy.proxy import Proxy
from podhost.proxy.settings import ProxySettings
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

SETTINGS = ProxySettings(
    table="t", link_prefix="ph0-", gateway=IPv4Address("10.0.0.1"), service_cidr=IPv4Network("10.1.0.0/16")
)


class World:
    def __init__(self, path: Path) -> None:
        self.store = Store(path, SystemClock())
        self.scripts: list[str] = []
        self.failures = 0
        recorder = EventRecorder(self.store, SystemClock(), "podhost-proxy", "node")
        self.proxy = Proxy(self.store, SETTINGS, recorder, apply=self.apply, is_port_free=lambda *_: True)

    async def apply(self, script: str) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise UnavailableError("cannot reach nft")
        self.scripts.append(script)

    def put(self, name: str, *addresses: str, **spec: Any) -> None:
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        base = {"clusterIP": f"10.1.0.{ord(name)}", "ports": ports}
        service = {"metadata": {"namespace": "ns", "name": name, "uid": name}, "spec": base | spec}
        self.store.create(ObjectKey("services", "ns", name), service)
        endpoint_slice = {
            "metadata": {"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address]} for address in addresses],
        }
        self.store.create(ObjectKey("endpointslices.discovery.k8s.io", "ns", name), endpoint_slice)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "store.db")
    yield made
    await made.proxy.stop()
    made.store.close()


async def test_start_replaces_the_table_and_a_turns_writes_are_one_transaction(world: World) -> None:
    world.put("a", "10.0.0.2")
    await world.proxy.start()
    assert len(world.scripts) == 1
    assert world.scripts[0].startswith("table ip t\ndelete table ip t\n")
    assert "10.0.0.2:8080" in world.scripts[0]
    world.put("b", "10.0.0.3")
    world.put("c", "10.0.0.4")
    await world.proxy.sync()
    assert len(world.scripts) == 2
    assert "10.0.0.3:8080" in world.scripts[1]
    assert "10.0.0.4:8080" in world.scripts[1]
    assert "10.0.0.2" not in world.scripts[1]


async def test_what_does_not_change_the_rules_calls_nothing(world: World) -> None:
    world.put("a", "10.0.0.2")
    await world.proxy.start()
    world.store.mutate(ObjectKey("services", "ns", "a"), lambda obj: {**obj, "status": {"x": 1}})
    await world.proxy.sync()
    assert len(world.scripts) == 1


async def test_pod_of_two_services_keeps_its_hairpin_until_the_last_has_gone(world: World) -> None:
    world.put("a", "10.0.0.2")
    world.put("b", "10.0.0.2")
    await world.proxy.start()
    world.store.delete(ObjectKey("services", "ns", "a"))
    await world.proxy.sync()
    assert "hairpin" not in world.scripts[-1]
    world.store.delete(ObjectKey("services", "ns", "b"))
    await world.proxy.sync()
    assert "delete element ip t hairpin { 10.0.0.2 . 10.0.0.2 }" in world.scripts[-1]


async def test_after_a_failure_the_whole_table_is_replaced(world: World) -> None:
    world.put("a", "10.0.0.2")
    await world.proxy.start()
    world.failures = 2
    world.put("b", "10.0.0.3")
    await world.proxy.sync()
    assert world.scripts[-1].startswith("table ip t\ndelete table ip t\n")
    assert "10.0.0.2:8080" in world.scripts[-1]
    assert "10.0.0.3:8080" in world.scripts[-1]


async def test_external_addresses_are_refused_in_an_event_once(world: World) -> None:
    world.put("a", externalIPs=["192.0.2.9"])
    await world.proxy.start()
    world.store.mutate(ObjectKey("services", "ns", "a"), lambda obj: {**obj, "status": {"x": 1}})
    await world.proxy.sync()
    (event,) = world.store.list("events")[0]
    assert (event["reason"], event["count"]) == ("ExternalIPsIgnored", 1)
    assert event["message"] == "spec.externalIPs is not honoured: 192.0.2.9"


async def test_service_that_cannot_be_understood_does_not_take_others_down(world: World) -> None:
    world.put("a", "10.0.0.2")
    world.put("b", "10.0.0.3", ports=["nonsense"])
    await world.proxy.start()
    assert "10.0.0.2:8080" in world.scripts[0]


async def test_slice_that_changes_its_service_is_moved(world: World) -> None:
    world.put("a", "10.0.0.2")
    world.put("b")
    await world.proxy.start()
    key = ObjectKey("endpointslices.discovery.k8s.io", "ns", "a")
    labels = {"kubernetes.io/service-name": "b"}
    world.store.mutate(key, lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": labels}})
    await world.proxy.sync()
    assert f"delete element ip t service_ips {{ 10.1.0.{ord('a')} . tcp . 80 }}" in world.scripts[-1]
    assert f"10.1.0.{ord('b')} . tcp . 80 : goto svc-" in world.scripts[-1]
