"""Services on the real kernel: cluster addresses, node ports, affinity, refusal, change while connections run."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from harness.netns import Pods, ask, ask_host, host_address
from podhost.aiokit.clock import SystemClock
from podhost.cri.ids import SandboxId
from podhost.linux import nft
from podhost.network.bridge import BridgeNetwork
from podhost.network.settings import NetworkSettings, build_link_prefix
from podhost.proxy.proxy import Proxy
from podhost.proxy.settings import ProxySettings
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

pytestmark = pytest.mark.skipif("os.geteuid() != 0", reason="needs root")

CLUSTER_IP = "10.185.128.10"


def service_doc(name: str = "web", *, cluster_ip: str = CLUSTER_IP, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"clusterIP": cluster_ip, "type": "ClusterIP", "ports": ports, **spec},
    }


def slice_doc(
    addresses: list[str], *, service: str = "web", port: int = 8080, name: str = "http", protocol: str = "TCP"
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{service}-{name}",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": name, "port": port, "protocol": protocol}],
    }


@dataclass
class World:
    store: Store
    network: BridgeNetwork
    proxy: Proxy
    pods: Pods

    def put(self, resource: str, obj: dict[str, Any]) -> None:
        key = ObjectKey(resource, "default", obj["metadata"]["name"])
        if self.store.find(key):
            self.store.update(key, obj)
        else:
            self.store.create(key, obj)

    async def pod(self, name: str, *, serve: bool = True) -> tuple[Path, str]:
        netns = self.pods.netns(name)
        address = (await self.network.attach(SandboxId(name), netns)).ips[0]
        if serve:
            self.pods.serve(netns, "0.0.0.0", 8080, name)
        return netns, address

    async def expose(self, service: dict[str, Any], addresses: list[str]) -> None:
        self.put("services", service)
        self.put("endpointslices.discovery.k8s.io", slice_doc(addresses, service=service["metadata"]["name"]))
        await self.proxy.sync()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    made = Pods(tmp_path / "pods")
    yield made
    made.close()


@pytest.fixture
async def world(tmp_path: Path, pods: Pods) -> AsyncIterator[World]:
    network = BridgeNetwork(
        NetworkSettings(
            instance="proxytest",
            bridge="phpt5",
            pod_cidr=IPv4Network("10.185.0.0/17"),
            service_cidr=IPv4Network("10.185.128.0/17"),
            table="podhost_proxytest",
            data_dir=tmp_path / "net",
            shared_dir=tmp_path / "shared",
        )
    )
    await network.recover(set())
    store = Store(tmp_path / "store.db", SystemClock())
    settings = ProxySettings(
        table="podhost_proxytest_services",
        link_prefix=build_link_prefix("phpt5"),
        gateway=IPv4Address("10.185.0.1"),
        service_cidr=IPv4Network("10.185.128.0/17"),
    )
    proxy = Proxy(store, settings, EventRecorder(store, SystemClock(), "podhost-proxy", "node"))
    await proxy.start()
    yield World(store, network, proxy, pods)
    await proxy.teardown()
    await network.teardown()
    store.close()
    assert not {table for table in await nft.list_tables() if "proxytest" in table}


async def test_cluster_ip_balances_over_endpoints_and_keeps_the_clients_address(world: World) -> None:
    client, own = await world.pod("client")
    _, first = await world.pod("first")
    _, second = await world.pod("second")
    await world.expose(service_doc(), [first, second])
    answers = {ask(world.pods, client, CLUSTER_IP, 80) for _ in range(12)}
    assert answers == {f"{own} first", f"{own} second"}
    assert (await ask_host(CLUSTER_IP, 80)).startswith("10.185.0.1 ")


async def test_pod_reaches_itself_through_its_service(world: World) -> None:
    netns, address = await world.pod("self")
    await world.expose(service_doc(type="NodePort", ports=[NODE_PORT]), [address])
    assert ask(world.pods, netns, CLUSTER_IP, 80) == "10.185.0.1 self"
    assert ask(world.pods, netns, host_address(), 28080) == "10.185.0.1 self"


NODE_PORT = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 28080}


async def test_node_port_answers_on_loopback_and_host_address(world: World) -> None:
    _, address = await world.pod("web")
    client, own = await world.pod("client", serve=False)
    await world.expose(service_doc(type="NodePort", ports=[NODE_PORT]), [address])
    assert await ask_host("127.0.0.1", 28080) == "10.185.0.1 web"
    assert await ask_host(host_address(), 28080) == f"{host_address()} web"
    assert ask(world.pods, client, host_address(), 28080) == f"{own} web"
    world.store.delete(ObjectKey("services", "default", "web"))
    await world.proxy.sync()
    assert await ask_host("127.0.0.1", 28080) == "ConnectionRefusedError"


async def test_service_without_endpoints_refuses_at_once(world: World) -> None:
    client, _ = await world.pod("client", serve=False)
    await world.expose(service_doc(type="NodePort", ports=[NODE_PORT]), [])
    assert ask(world.pods, client, CLUSTER_IP, 80) == "ConnectionRefusedError"
    assert await ask_host(CLUSTER_IP, 80) == "ConnectionRefusedError"
    assert await ask_host("127.0.0.1", 28080) == "ConnectionRefusedError"
    assert ask(world.pods, client, "10.185.128.99", 80) == "ConnectionRefusedError"


async def test_refused_node_port_does_not_reach_a_process_of_the_host(world: World) -> None:
    with socket.create_server(("127.0.0.1", 28080)):
        await world.expose(service_doc(type="NodePort", ports=[NODE_PORT]), [])
        assert await ask_host("127.0.0.1", 28080) == "ConnectionRefusedError"
        events = [event["message"] for event in world.store.list("events")[0]]
    assert events[0].startswith("node port 28080/TCP is also listened on by ")


async def test_client_ip_affinity_stays_with_one_endpoint_until_that_goes(world: World) -> None:
    client, own = await world.pod("client", serve=False)
    _, first = await world.pod("first")
    _, second = await world.pod("second")
    service = service_doc(sessionAffinity="ClientIP")
    await world.expose(service, [first, second])
    answers = {ask(world.pods, client, CLUSTER_IP, 80) for _ in range(6)}
    assert len(answers) == 1
    remaining = second if answers == {f"{own} first"} else first
    await world.expose(service, [remaining])
    other = {ask(world.pods, client, CLUSTER_IP, 80) for _ in range(3)}
    assert len(other) == 1
    assert other != answers


UDP_SERVER = """
import socket,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',5353)); print('ready',flush=True)
while True:
    d,a=s.recvfrom(99); s.sendto(sys.argv[1].encode(),a)
"""


async def test_udp_client_is_led_to_the_new_endpoint_when_the_old_one_goes(world: World) -> None:
    servers = []
    addresses = []
    for name in ("old", "new"):
        netns, address = await world.pod(name, serve=False)
        argv = ["nsenter", f"--net={netns}", "python3", "-c", UDP_SERVER, name]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        servers.append(server)
        addresses.append(address)
    try:
        # Another one in each run: the kernel remembers the flows of the last.
        client_port = pick_udp_port()
        ports = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}]
        world.put("services", service_doc("dns", cluster_ip="10.185.128.11", ports=ports))
        slices = "endpointslices.discovery.k8s.io"
        for wanted, address in zip(("old", "new"), addresses, strict=True):
            world.put(slices, slice_doc([address], service="dns", port=5353, name="dns", protocol="UDP"))
            await world.proxy.sync()
            # Always the same client port: only the flow's removal can lead it elsewhere.
            assert await asyncio.to_thread(ask_udp, "10.185.128.11", 53, client_port) == wanted
    finally:
        for server in servers:
            server.kill()
            server.communicate()


def pick_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def ask_udp(address: str, port: int, client_port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("0.0.0.0", client_port))
        client.settimeout(2)
        client.connect((address, port))
        client.send(b"?")
        return client.recv(99).decode()


async def test_a_restarted_proxy_replaces_what_is_there(world: World) -> None:
    _, address = await world.pod("web")
    await world.expose(service_doc(type="NodePort", ports=[NODE_PORT]), [address])
    await world.proxy.stop()
    world.store.delete(ObjectKey("services", "default", "web"))
    await world.proxy.start()
    assert await ask_host("127.0.0.1", 28080) == "ConnectionRefusedError"
    listing = subprocess.run(
        ["nft", "list", "table", "ip", "podhost_proxytest_services"], capture_output=True, text=True
    )
    assert "svc-" not in listing.stdout


async def test_a_table_removed_by_somebody_is_made_again_at_the_next_change(world: World) -> None:
    _, address = await world.pod("web")
    subprocess.run(["nft", "delete", "table", "ip", "podhost_proxytest_services"], check=True)
    await world.expose(service_doc(), [address])
    assert await ask_host(CLUSTER_IP, 80) == "10.185.0.1 web"


async def test_one_change_beside_many_services_is_cheap(world: World) -> None:
    _, address = await world.pod("web")
    for number in range(400):
        name = f"s{number}"
        world.put("services", service_doc(name, cluster_ip=f"10.185.{130 + number // 250}.{1 + number % 250}"))
        world.put("endpointslices.discovery.k8s.io", slice_doc([address], service=name))
    started = time.perf_counter()
    await world.proxy.sync()
    whole = time.perf_counter() - started
    started = time.perf_counter()
    await world.expose(service_doc(), [address])
    one = time.perf_counter() - started
    print(f"\n400 services {whole * 1e3:.0f} ms, one more {one * 1e3:.1f} ms")
    assert await ask_host("10.185.131.1", 80) == "10.185.0.1 web"
