"""The name server on real sockets, with a real upstream server on loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, cast

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from podhost.aiokit.clock import SystemClock
from podhost.daemon.listeners import bind_dns
from podhost.dns.server import DnsServer
from podhost.dns.settings import DnsSettings
from podhost.dns.upstream import Upstream
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

SLICES = "endpointslices.discovery.k8s.io"


class Elsewhere(asyncio.DatagramProtocol):
    """An upstream server that knows one address for everything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.7"))
        self.transport.sendto(b"\0\0garbage that has another number", addr)
        self.transport.sendto(answer.to_wire(), addr)


@dataclass
class World:
    store: Store
    server: DnsServer
    port: int

    def put(self, resource: str, obj: dict[str, Any]) -> None:
        key = ObjectKey(resource, "shop", obj["metadata"]["name"])
        if self.store.find(key):
            self.store.update(key, obj)
        else:
            self.store.create(key, obj)

    async def ask(self, name: str, rdtype: str = "A", *, tcp: bool = False) -> list[str]:
        query = dns.message.make_query(name, rdtype)
        send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        answer = await send(query, "127.0.0.1", port=self.port, timeout=10)
        if answer.rcode() != dns.rcode.NOERROR:
            return [dns.rcode.to_text(answer.rcode())]
        return sorted(rdata.to_text() for rrset in answer.answer for rdata in rrset)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    elsewhere, _ = await loop.create_datagram_endpoint(Elsewhere, local_addr=("127.0.0.1", 0))
    store = Store(tmp_path / "store.db", SystemClock())
    settings = DnsSettings(
        cluster_ip=IPv4Address("10.1.128.10"), networks=(IPv4Network("10.1.0.0/16"),), read_upstreams=lambda: ()
    )
    # Nobody is at the first address: the second one is asked.
    servers = ("10.1.128.10", "not an address", "127.0.0.2", "127.0.0.1")
    port = elsewhere.get_extra_info("sockname")[1]
    server = DnsServer(store, settings, upstream=Upstream(lambda: servers, "10.1.128.10", port=port))
    udp, tcp = bind_dns("127.0.0.1", tmp_path / "dns-port")
    await server.start(udp, tcp)
    yield World(store, server, udp.getsockname()[1])
    await server.stop()
    elsewhere.close()
    store.close()


def service(name: str, cluster_ip: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"clusterIP": cluster_ip}}


def slice_of(*addresses: str, service: str = "web") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    metadata = {"name": "web-1", "namespace": "shop", "labels": labels}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": []}


@pytest.mark.parametrize("tcp", [False, True])
async def test_names_follow_services_slices_and_pods(world: World, tcp: bool) -> None:
    assert await world.ask("web.shop.svc.cluster.local", tcp=tcp) == ["NXDOMAIN"]
    world.put(SLICES, slice_of("10.1.0.2", "10.1.0.3"))
    world.put("services", service("web", "None"))
    assert await world.ask("web.shop.svc.cluster.local", tcp=tcp) == ["10.1.0.2", "10.1.0.3"]
    world.put(SLICES, slice_of("10.1.0.3"))
    assert await world.ask("web.shop.svc.cluster.local", tcp=tcp) == ["10.1.0.3"]
    world.put(SLICES, slice_of("10.1.0.3", service="other"))
    assert await world.ask("web.shop.svc.cluster.local", tcp=tcp) == ["NXDOMAIN"]
    world.put("pods", {"metadata": {"name": "p", "namespace": "shop"}, "status": {"podIP": "10.1.0.3"}})
    assert await world.ask("10-1-0-3.shop.pod.cluster.local", tcp=tcp) == ["10.1.0.3"]
    world.store.delete(ObjectKey("pods", "shop", "p"))
    assert await world.ask("10-1-0-3.shop.pod.cluster.local", tcp=tcp) == ["NXDOMAIN"]


async def test_other_names_are_asked_upstream_past_servers_that_do_not_answer(world: World) -> None:
    assert await world.ask("debian.org") == ["192.0.2.7"]
    external = {"metadata": {"name": "db", "namespace": "shop"}, "spec": {"type": "ExternalName"}}
    external["spec"]["externalName"] = "db.example.com"
    world.put("services", external)
    assert await world.ask("db.shop.svc.cluster.local") == ["192.0.2.7", "db.example.com."]


async def test_garbage_and_idle_clients_harm_nobody(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for data in (b"", b"x", b"\0" * 12, b"\xff" * 600):
            client.sendto(data, ("127.0.0.1", world.port))
    opened = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(5)]
    opened[0][1].write(struct.pack("!H", 3) + b"abc")
    assert await opened[0][0].read() == b"", "what is no question ends the connection"
    opened[1][1].write(struct.pack("!H", 65535) + b"half of it")
    world.put("services", service("web", "10.1.128.9"))
    assert await world.ask("web.shop.svc.cluster.local") == ["10.1.128.9"]
    for _, writer in opened:
        writer.close()


def test_the_port_of_the_name_server_is_taken_again(tmp_path: Path) -> None:
    record = tmp_path / "dns-port"
    ports = []
    for _ in range(2):
        udp, tcp = bind_dns("127.0.0.1", record)
        ports.append((udp.getsockname()[1], tcp.getsockname()[1]))
        udp.close()
        tcp.close()
    assert ports[0] == ports[1]
    assert ports[0][0] == ports[0][1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", ports[0][0]))
        udp, tcp = bind_dns("127.0.0.1", record)
        assert udp.getsockname()[1] != ports[0][0]
        udp.close()
        tcp.close()
