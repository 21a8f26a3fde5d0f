"""The pod network on the real kernel: two instances, processes in namespaces, what reaches what."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from harness.netns import Pods, ask, ask_host, host_address
from podhost.aiokit import failpoint
from podhost.cri.ids import SandboxId
from podhost.cri.runtime import PortMapping
from podhost.errors import ConflictError, ExhaustedError, InvalidError
from podhost.linux import namespaces, netlink, nft
from podhost.network.bridge import BridgeNetwork, build_link_name
from podhost.network.settings import NetworkSettings

pytestmark = pytest.mark.skipif("os.geteuid() != 0", reason="needs root")


def settings_for(tmp_path: Path, number: int, cidr: str = "") -> NetworkSettings:
    base = 180 + number
    return NetworkSettings(
        instance=f"nettest{number}",
        bridge=f"phnt{number}",
        pod_cidr=IPv4Network(cidr or f"10.{base}.0.0/17"),
        service_cidr=IPv4Network(f"10.{base}.128.0/17"),
        table=f"podhost_nettest{number}",
        data_dir=tmp_path / f"net{number}",
        shared_dir=tmp_path / "shared",
    )


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    made = Pods(tmp_path / "pods")
    yield made
    made.close()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[BridgeNetwork]:
    made = BridgeNetwork(settings_for(tmp_path, 1))
    await made.recover(set())
    yield made
    await made.teardown()


async def test_pods_reach_each_other_under_their_own_addresses(network: BridgeNetwork, pods: Pods) -> None:
    first, second = pods.netns("a"), pods.netns("b")
    a = await network.attach(SandboxId("a"), first)
    b = await network.attach(SandboxId("b"), second)
    assert (a.ips, a.gateway) == (("10.181.0.2",), "10.181.0.1")
    pods.serve(second, "0.0.0.0", 80, "b")
    assert ask(pods, first, b.ips[0], 80) == f"{a.ips[0]} b"
    assert await ask_host(b.ips[0], 80) == "10.181.0.1 b"
    assert "lo" in pods.run(first, "ip", "-br", "addr").stdout
    assert "127.0.0.1/8" in pods.run(first, "ip", "-br", "addr").stdout


async def test_attaching_again_gives_the_same_address(network: BridgeNetwork, pods: Pods) -> None:
    netns = pods.netns("a")
    assert await network.attach(SandboxId("a"), netns) == await network.attach(SandboxId("a"), netns)


async def test_host_port_answers_on_loopback_and_host_address_and_to_the_pod_itself(
    network: BridgeNetwork, pods: Pods
) -> None:
    netns, other = pods.netns("a"), pods.netns("b")
    pods.serve(netns, "0.0.0.0", 80, "web")
    port = PortMapping(protocol="TCP", container_port=80, host_port=18081)
    own = (await network.attach(SandboxId("a"), netns, (port,))).ips[0]
    neighbour = (await network.attach(SandboxId("b"), other)).ips[0]
    assert await ask_host("127.0.0.1", 18081) == "10.181.0.1 web"
    assert await ask_host(host_address(), 18081) == f"{host_address()} web"
    assert ask(pods, other, host_address(), 18081) == f"{neighbour} web"
    assert ask(pods, netns, host_address(), 18081) == "10.181.0.1 web"
    assert own != neighbour
    await network.detach(SandboxId("a"))
    assert await ask_host("127.0.0.1", 18081) == "ConnectionRefusedError"


async def test_host_port_of_one_host_address_answers_there_only(network: BridgeNetwork, pods: Pods) -> None:
    netns = pods.netns("a")
    pods.serve(netns, "0.0.0.0", 80, "web")
    port = PortMapping(protocol="TCP", container_port=80, host_port=18082, host_ip="127.0.0.1")
    await network.attach(SandboxId("a"), netns, (port,))
    assert await ask_host("127.0.0.1", 18082) == "10.181.0.1 web"
    assert await ask_host(host_address(), 18082) == "ConnectionRefusedError"


async def test_host_port_conflict_names_the_owner(tmp_path: Path, network: BridgeNetwork, pods: Pods) -> None:
    port = PortMapping(protocol="TCP", container_port=80, host_port=18083)
    await network.attach(SandboxId("a"), pods.netns("a"), (port,))
    with pytest.raises(ConflictError, match=r"cannot publish host port 18083/TCP: it belongs to pod sandbox a"):
        await network.attach(SandboxId("b"), pods.netns("b"), (port,))
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = PortMapping(protocol="TCP", container_port=80, host_port=server.getsockname()[1])
        with pytest.raises(ConflictError, match=r"cannot publish host port .*/TCP: .+ \(pid \d+\) listens on it"):
            await network.attach(SandboxId("c"), pods.netns("c"), (taken,))
    await network.wait_detached()
    assert [path.name for path in (tmp_path / "net1").iterdir()] == ["10.181.0.2"]


async def test_a_host_port_that_another_instance_publishes_is_refused(
    tmp_path: Path, network: BridgeNetwork, pods: Pods
) -> None:
    everywhere = PortMapping(protocol="TCP", container_port=80, host_port=18086)
    local = PortMapping(protocol="UDP", container_port=80, host_port=18087, host_ip="127.0.0.1")
    await network.attach(SandboxId("a"), pods.netns("a"), (everywhere, local))
    other = BridgeNetwork(settings_for(tmp_path, 2))
    await other.recover(set())
    try:
        for name, wanted in (
            ("b", PortMapping(protocol="TCP", container_port=1, host_port=18086, host_ip="127.0.0.1")),
            ("c", PortMapping(protocol="UDP", container_port=1, host_port=18087)),
        ):
            with pytest.raises(
                ConflictError,
                match=rf"cannot publish host port {wanted.host_port}/{wanted.protocol}:"
                r" it belongs to a pod of instance 'nettest1'",
            ):
                await other.attach(SandboxId(name), pods.netns(name), (wanted,))
        free = PortMapping(protocol="UDP", container_port=1, host_port=18086)
        await other.attach(SandboxId("d"), pods.netns("d"), (free,))
        await network.detach(SandboxId("a"))
        await other.attach(SandboxId("e"), pods.netns("e"), (everywhere, local))
    finally:
        await other.teardown()


async def test_pods_cannot_reach_the_hosts_loopback(network: BridgeNetwork, pods: Pods) -> None:
    """CVE-2020-8558: with route_localnet a pod could send to 127/8 of the host by naming the bridge as gateway."""
    netns = pods.netns("a")
    await network.attach(SandboxId("a"), netns)
    pods.serve(None, "127.0.0.7", 18084, "secret")
    pods.run(netns, "ip", "link", "set", "lo", "down")
    pods.run(netns, "ip", "route", "add", "127.0.0.7", "via", "10.181.0.1", "dev", "eth0", "table", "local")
    pods.run(netns, "sysctl", "-q", "-w", "net.ipv4.conf.eth0.route_localnet=1")
    pods.run(netns, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    assert "127.0.0.7 via 10.181.0.1" in pods.run(netns, "ip", "route", "get", "127.0.0.7").stdout
    assert ask(pods, netns, "127.0.0.7", 18084) == "TimeoutError"
    # The same packet arrives when the rule is not there: the test does test it.
    await nft.apply("flush chain ip podhost_nettest1 raw\n")
    assert "secret" in ask(pods, netns, "127.0.0.7", 18084)


async def test_neighbours_of_the_host_reach_no_pod_by_routing(network: BridgeNetwork, pods: Pods) -> None:
    netns, outside = pods.netns("a"), pods.netns("outside")
    pod = await network.attach(
        SandboxId("a"), netns, (PortMapping(protocol="TCP", container_port=80, host_port=18085),)
    )
    pods.serve(netns, "0.0.0.0", 80, "web")
    subprocess.run(["ip", "link", "add", "phntout", "type", "veth", "peer", "name", "phntin"], check=True)
    try:
        subprocess.run(["ip", "link", "set", "phntin", "netns", str(outside)], check=True)
        subprocess.run(["ip", "addr", "add", "10.179.0.1/24", "dev", "phntout"], check=True)
        subprocess.run(["ip", "link", "set", "phntout", "up"], check=True)
        pods.run(outside, "ip", "addr", "add", "10.179.0.2/24", "dev", "phntin")
        pods.run(outside, "ip", "link", "set", "phntin", "up")
        pods.run(outside, "ip", "route", "add", "default", "via", "10.179.0.1")
        assert ask(pods, outside, pod.ips[0], 80) == "TimeoutError"
        assert ask(pods, outside, "10.179.0.1", 18085) == "10.179.0.2 web"
        # Outbound traffic leaves under the host's address.
        pods.serve(outside, "0.0.0.0", 80, "out")
        assert ask(pods, netns, "10.179.0.2", 80) == "10.179.0.1 out"
    finally:
        subprocess.run(["ip", "link", "del", "phntout"], check=False)


async def test_no_free_address_is_an_exhausted_error(tmp_path: Path, pods: Pods) -> None:
    network = BridgeNetwork(settings_for(tmp_path, 2, "10.182.0.0/29"))
    await network.recover(set())
    try:
        for number in range(5):
            await network.attach(SandboxId(str(number)), pods.netns(str(number)))
        with pytest.raises(ExhaustedError, match=r"all 5 of 10\.182\.0\.0/29"):
            await network.attach(SandboxId("x"), pods.netns("x"))
        await network.detach(SandboxId("3"))
        await network.wait_detached()
        assert (await network.attach(SandboxId("x"), pods.netns("y"))).ips == ("10.182.0.5",)
    finally:
        await network.teardown()


async def test_failed_attach_leaves_nothing(tmp_path: Path, network: BridgeNetwork) -> None:
    with pytest.raises(FileNotFoundError):
        await network.attach(SandboxId("a"), tmp_path / "absent")
    await network.wait_detached()
    assert list((tmp_path / "net1").iterdir()) == []
    assert not [name for name in netlink.observe_links() if name.startswith("phnt1-")]


@pytest.mark.parametrize("point", [name for name in failpoint.known() if name.startswith("network.attach.")])
async def test_attach_that_fails_at_any_step_leaves_nothing_and_can_be_repeated(
    network: BridgeNetwork, pods: Pods, tmp_path: Path, point: str
) -> None:
    netns = pods.netns("a")
    port = PortMapping(protocol="TCP", container_port=80, host_port=18087)
    failpoint.set(point, "1*error:EIO")
    try:
        with pytest.raises(OSError, match=point):
            await network.attach(SandboxId("a"), netns, (port,))
    finally:
        failpoint.clear(point)
    await network.wait_detached()
    assert list((tmp_path / "net1").iterdir()) == []
    assert not [name for name in netlink.observe_links() if name.startswith("phnt1-")]
    pods.serve(netns, "0.0.0.0", 80, "web")
    await network.attach(SandboxId("a"), netns, (port,))
    assert await ask_host("127.0.0.1", 18087) == "10.181.0.1 web"


async def test_cancelled_attach_leaves_nothing(network: BridgeNetwork, pods: Pods, tmp_path: Path) -> None:
    netns = pods.netns("a")
    for turns in range(1, 6):
        attaching = asyncio.ensure_future(network.attach(SandboxId("a"), netns))
        for _ in range(turns):
            await asyncio.sleep(0)
        attaching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attaching
        await network.detach(SandboxId("a"))
        await network.wait_detached()
        assert list((tmp_path / "net1").iterdir()) == []
        assert not [name for name in netlink.observe_links() if name.startswith("phnt1-")]


async def test_host_port_on_what_is_no_address_is_refused(network: BridgeNetwork, pods: Pods) -> None:
    port = PortMapping(protocol="TCP", container_port=80, host_port=18088, host_ip="::1")
    with pytest.raises(InvalidError, match="cannot publish host port 18088/TCP on '::1': not an IPv4 address"):
        await network.attach(SandboxId("a"), pods.netns("a"), (port,))


async def test_detach_that_fails_half_way_is_completed_by_the_next(network: BridgeNetwork, pods: Pods) -> None:
    for name in "ab":
        await network.attach(SandboxId(name), pods.netns(name))
    failpoint.set("network.detach.02-unlinked", "1*error:EIO")
    await network.detach(SandboxId("a"))
    await network.wait_detached()
    failpoint.clear()
    await network.detach(SandboxId("b"))
    await network.wait_detached()
    assert not [name for name in netlink.observe_links() if name.startswith("phnt1-")]
    for number in range(5):
        await network.attach(SandboxId(str(number)), pods.netns(str(number)))


async def test_many_pods_attach_and_detach_at_once(network: BridgeNetwork, pods: Pods) -> None:
    spaces = {SandboxId(str(number)): pods.netns(str(number)) for number in range(20)}
    started = time.perf_counter()
    statuses = await asyncio.gather(*(network.attach(name, netns) for name, netns in spaces.items()))
    attached = time.perf_counter()
    await asyncio.gather(*(network.detach(name) for name in spaces))
    await network.wait_detached()
    print(f"\n20 attached {(attached - started) * 1e3:.0f} ms, gone {(time.perf_counter() - attached) * 1e3:.0f} ms")
    assert len({status.ips for status in statuses}) == 20


async def test_detach_works_when_the_namespace_is_gone(network: BridgeNetwork, pods: Pods, tmp_path: Path) -> None:
    await network.attach(SandboxId("a"), pods.netns("a"))
    namespaces.unpin_namespaces(tmp_path / "pods" / "a")
    await network.detach(SandboxId("a"))
    await network.detach(SandboxId("a"))
    await network.wait_detached()
    assert not [name for name in netlink.observe_links() if name.startswith("phnt1-")]


async def test_restart_keeps_the_living_and_frees_the_rest(tmp_path: Path, pods: Pods) -> None:
    settings = settings_for(tmp_path, 1)
    before = BridgeNetwork(settings)
    await before.recover(set())
    kept, lost = pods.netns("kept"), pods.netns("lost")
    port = PortMapping(protocol="TCP", container_port=80, host_port=18086)
    status = await before.attach(SandboxId("kept"), kept, (port,))
    await before.attach(SandboxId("lost"), lost)
    pods.serve(kept, "0.0.0.0", 80, "web")
    after = BridgeNetwork(settings)
    try:
        subprocess.run(["nft", "delete", "table", "ip", settings.table], check=True)
        await after.recover({SandboxId("kept")})
        assert await after.attach(SandboxId("kept"), kept, (port,)) == status
        assert await ask_host("127.0.0.1", 18086) == "10.181.0.1 web"
        ports = [name for name in netlink.observe_links() if name.startswith("phnt1-")]
        assert ports == ["phnt1-2"]
        with pytest.raises(ConflictError):
            await after.attach(SandboxId("new"), pods.netns("new"), (port,))
    finally:
        await after.teardown()


async def test_two_instances_live_side_by_side_and_leave_nothing(tmp_path: Path, pods: Pods) -> None:
    ranges = [IPv4Network("10.181.0.0/16"), IPv4Network("10.182.0.0/16")]

    async def observe() -> list[str]:
        # Other instances of podhost may come and go on the machine meanwhile.
        with netlink.RouteSocket() as route:
            found = [link.name for link in route.links() if link.name.startswith("phnt")]
            found += [
                str(r.destination)
                for r in route.routes()
                if r.destination.prefixlen and any(r.destination.overlaps(n) for n in ranges)
            ]
        return found + [table for table in await nft.list_tables() if "nettest" in table]

    assert await observe() == []
    one, two = BridgeNetwork(settings_for(tmp_path, 1)), BridgeNetwork(settings_for(tmp_path, 2))
    await one.recover(set())
    await two.recover(set())
    first, second = pods.netns("a"), pods.netns("b")
    try:
        await one.attach(SandboxId("same"), first)
        address = (await two.attach(SandboxId("same"), second)).ips[0]
        pods.serve(second, "0.0.0.0", 80, "two")
        assert await ask_host(address, 80) == "10.182.0.1 two"
        assert ask(pods, first, address, 80) == "TimeoutError"
        await one.teardown()
        assert netlink.read_sysctl("net/ipv4/ip_forward") == "1"
        assert await ask_host(address, 80) == "10.182.0.1 two"
    finally:
        await one.teardown()
        await two.teardown()
    assert not (tmp_path / "shared").exists()
    assert await observe() == []


async def test_attaching_takes_milliseconds(network: BridgeNetwork, pods: Pods) -> None:
    spaces = [pods.netns(str(number)) for number in range(12)]
    taken = []
    for number, netns in enumerate(spaces):
        started = time.perf_counter()
        await network.attach(SandboxId(str(number)), netns)
        taken.append(time.perf_counter() - started)
    started = time.perf_counter()
    for number in range(len(spaces)):
        await network.detach(SandboxId(str(number)))
    await network.wait_detached()
    print(
        f"\nattach median {sorted(taken)[6] * 1e3:.1f} ms; 12 detached {(time.perf_counter() - started) * 1e3:.0f} ms"
    )
    # Budget 4 ms on a quiet machine.
    assert sorted(taken)[6] < 0.05


def test_link_names_fit_into_fifteen_characters(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 1)
    assert build_link_name(settings, settings.pod_cidr[5]) == "phnt1-5"
    long = NetworkSettings(
        instance="x",
        bridge="a-long-name-15c",
        pod_cidr=IPv4Network("10.0.0.0/12"),
        service_cidr=IPv4Network("10.128.0.0/17"),
        table="t",
        data_dir=tmp_path,
        shared_dir=tmp_path,
    )
    assert len(build_link_name(long, long.pod_cidr[-2])) <= 15
