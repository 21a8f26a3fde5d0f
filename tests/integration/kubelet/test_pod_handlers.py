"""Probes and hooks over the network, made inside a network namespace that nothing outside can reach; as root."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.covers import covers
from harness.cri_fakes import FakeRuntime
from harness.grpc_server import HealthService
from harness.pod_servers import SLOWLY, PodServer, answer, build_server_tls
from podhost.aiokit import failpoint
from podhost.aiokit.clock import FakeClock
from podhost.api import models
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ExecResult
from podhost.kubelet.handlers import HandlerTarget, HookError
from podhost.kubelet.pod_handlers import PodHandlers
from podhost.kubelet.probe_state import Outcome, Verdict
from podhost.linux.namespace_sockets import NamespaceSockets
from podhost.linux.namespaces import pin_namespaces, run_in_namespace, unpin_namespaces
from podhost.linux.netlink import RouteSocket, build_up

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

POD = msgspec.convert(
    {"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": {"containers": [{"name": "main"}]}}, models.Pod
)


def _set_loopback_up() -> None:
    with RouteSocket() as route:
        route.request([build_up("lo")])


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    path = pin_namespaces(tmp_path, frozenset({"net"}))["net"]
    run_in_namespace(path, "net", _set_loopback_up)
    yield path
    unpin_namespaces(tmp_path)


@dataclass
class Prober:
    """Asks a server in the namespace."""

    handlers: PodHandlers
    netns: Path | None

    def target(self, port: int, pod_ip: str = "127.0.0.1") -> HandlerTarget:
        ports = (models.ContainerPort(container_port=port, name="www"),)
        container = models.Container(name="main", ports=ports)
        return HandlerTarget(ContainerId("c1"), container, pod_ip, self.netns)

    async def probe(self, port: int, timeout_s: float = 5, pod_ip: str = "127.0.0.1", **action: Any) -> Outcome:
        return await self.handlers.probe(self.target(port, pod_ip), msgspec.convert(action, models.Probe), timeout_s)

    async def http(self, server: PodServer, path: str = "/", timeout_s: float = 5, **fields: Any) -> Outcome:
        action = {"port": "www", "path": path, "scheme": "HTTPS" if server.tls else "HTTP", **fields}
        return await self.probe(server.port, timeout_s, server.address, httpGet=action)

    async def hook(self, port: int, **action: Any) -> str | None:
        return await self.handlers.run_hook(self.target(port), msgspec.convert(action, models.LifecycleHandler), POD)


@pytest.fixture
async def prober(netns: Path) -> AsyncIterator[Prober]:
    handlers = PodHandlers(FakeRuntime(FakeClock()))
    yield Prober(handlers, netns)
    handlers.close()
    for _ in range(20):  # What has been closed on both sides of a connection takes some turns of the loop to go.
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("status", "verdict", "text"),
    [
        ("200 OK", Verdict.SUCCESS, "fine"),
        ("399 Odd", Verdict.WARNING, "Probe terminated redirects, Response body: fine"),
        ("404 Not Found", Verdict.FAILURE, "HTTP probe failed with statuscode: 404"),
        ("500 Oh", Verdict.FAILURE, "HTTP probe failed with statuscode: 500"),
    ],
)
async def test_http_status_decides(prober: Prober, netns: Path, status: str, verdict: Verdict, text: str) -> None:
    async with PodServer(netns, answers={"/": answer(status, "fine")}) as server:
        assert await prober.http(server) == Outcome(verdict, text)


@covers("HTTPGetAction.httpHeaders", "HTTPGetAction.scheme", "HTTPHeader.name", "HTTPHeader.value")
async def test_request_is_that_of_a_kubelet(prober: Prober, netns: Path) -> None:
    headers = [{"name": "x-one", "value": "1"}, {"name": "X-One", "value": "2"}, {"name": "host", "value": "shop"}]
    async with PodServer(netns, answers={"/a%20b?c=d": answer("200 OK")}) as server:
        assert (await prober.http(server, "/a b?c=d", httpHeaders=headers)).verdict is Verdict.SUCCESS
        await prober.http(server, "plain", httpHeaders=[{"name": "User-Agent", "value": "me"}])
    lines = server.requests[0].strip().split("\r\n")
    assert lines[0] == "GET /a%20b?c=d HTTP/1.1"
    assert lines[1:] == [
        "Host: shop", "User-Agent: kube-probe/1.37", "Accept: */*", "X-One: 1", "X-One: 2", "Connection: close",
    ]  # fmt: skip
    lines = server.requests[1].strip().split("\r\n")
    assert lines[:2] == ["GET /plain HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    assert "User-Agent: me" in lines


async def test_redirects_are_followed_on_the_same_host_only(prober: Prober, netns: Path) -> None:
    async with PodServer(netns) as server:
        server.answers = {
            "/": answer("302 Found", "", "Location: /next"),
            "/next": answer("301 Moved", "", f"Location: http://127.0.0.1:{server.port}/end?x=1"),
            "/end?x=1": answer("200 OK", "there"),
            "/away": answer("302 Found", "go", "Location: http://other.invalid/"),
            "/round": answer("307 Again", "", "Location: /round"),
            "/nowhere": answer("302 Found", "here"),
        }
        assert await prober.http(server) == Outcome(Verdict.SUCCESS, "there")
        warning = "Probe terminated redirects, Response body: "
        assert await prober.http(server, "/away") == Outcome(Verdict.WARNING, warning + "go")
        assert await prober.http(server, "/nowhere") == Outcome(Verdict.WARNING, warning + "here")
        text = f'Get "http://127.0.0.1:{server.port}/round": stopped after 10 redirects'
        assert await prober.http(server, "/round") == Outcome(Verdict.FAILURE, text)
        assert sum("GET /round" in request for request in server.requests) == 10


async def test_no_more_than_ten_kibibytes_of_a_body_are_read(prober: Prober, netns: Path) -> None:
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [f"{1 << 16:x}\r\n{'x' * (1 << 16)}\r\n"] * 4
    async with PodServer(netns, answers={"/": [head, *chunks, SLOWLY]}) as server:
        outcome = await prober.http(server)
    assert (outcome.verdict, len(outcome.text)) == (Verdict.SUCCESS, 10 << 10)


@pytest.mark.parametrize(
    ("pieces", "verdict", "cause"),
    [
        ([], Verdict.FAILURE, "EOF"),
        (
            ["SSH-2.0-x\r\n\r\n"],
            Verdict.FAILURE,
            'net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-x"',
        ),
        (
            [SLOWLY],
            Verdict.FAILURE,
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
        (["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"], Verdict.UNKNOWN, "unexpected EOF"),
        (
            ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", SLOWLY],
            Verdict.UNKNOWN,
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)",
        ),
    ],
)  # fmt: skip
async def test_broken_answers_are_told_in_the_words_of_go(
    prober: Prober, netns: Path, pieces: list[str], verdict: Verdict, cause: str
) -> None:
    async with PodServer(netns, answers={"/": pieces}) as server:
        outcome = await prober.http(server, timeout_s=0.3)
    prefix = f'Get "http://127.0.0.1:{server.port}/": ' if verdict is Verdict.FAILURE else ""
    assert outcome == Outcome(verdict, prefix + cause)


async def test_https_believes_any_certificate(prober: Prober, netns: Path, tmp_path: Path) -> None:
    tls = build_server_tls(tmp_path)
    async with PodServer(netns, tls=tls, answers={"/": answer("200 OK", "safe")}) as server:
        assert await prober.http(server) == Outcome(Verdict.SUCCESS, "safe")


async def test_https_to_a_plain_server_is_a_failure_and_a_hook_tries_again_without_tls(
    prober: Prober, netns: Path
) -> None:
    async with PodServer(netns, answers={"/": answer("200 OK")}) as server:
        port = server.port

        async def serve_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            writer.close()

        sock = run_in_namespace(netns, "net", lambda: _listen("127.0.0.1"))
        plain = await asyncio.start_server(serve_once, sock=sock)
        plain_port = sock.getsockname()[1]
        outcome = await prober.probe(plain_port, httpGet={"port": plain_port, "scheme": "HTTPS", "path": "/"})
        cause = "http: server gave HTTP response to HTTPS client"
        assert outcome == Outcome(Verdict.FAILURE, f'Get "https://127.0.0.1:{plain_port}/": {cause}')
        headers = [{"name": "Authorization", "value": "Bearer secret"}]
        action = {"port": plain_port, "scheme": "HTTPS", "path": "/", "httpHeaders": headers}
        told = await prober.hook(plain_port, httpGet=action)
        where = f"127.0.0.1:{plain_port}"
        assert told == f"request to HTTPS lifecycle hook {where} got HTTP response, retry with HTTP succeeded"
        plain.close()
        assert await prober.hook(port, httpGet={"port": port, "scheme": "HTTP", "path": "/"}) is None
        assert "User-Agent: kube-lifecycle/1.37" in server.requests[0]


async def test_hook_succeeds_with_any_status_and_fails_without_an_answer(prober: Prober, netns: Path) -> None:
    async with PodServer(netns, answers={"/": answer("500 Oh")}) as server:
        assert await prober.hook(server.port, httpGet={"port": "www", "path": "/", "scheme": "HTTP"}) is None
    with pytest.raises(HookError) as caught:
        await prober.hook(1, httpGet={"port": 1, "path": "/x", "scheme": "HTTP"})
    assert str(caught.value) == (
        'HTTP lifecycle hook (/x) for Container "main" in Pod "web_ns(u)" failed - error: '
        'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused'
    )


class _FloodingRuntime(FakeRuntime):
    async def exec_sync(self, container_id: ContainerId, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        return ExecResult(exit_code=1, stdout=b"o" * 1_000_000, stderr=b"e" * 1_000_000)


async def test_failed_hook_tells_only_the_start_of_what_it_printed(netns: Path) -> None:
    handlers = PodHandlers(_FloodingRuntime(FakeClock()))
    prober = Prober(handlers, netns)
    with pytest.raises(HookError) as caught:
        await prober.hook(1, exec={"command": ["flood"]})
    handlers.close()
    text = str(caught.value)
    assert (text.count("e" * 10240), text.count("o" * 10240)) == (1, 1)
    assert len(text) < 21_000


def _listen(address: str, backlog: int = 100) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.bind((address, 0))
    sock.listen(backlog)
    return sock


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_tcp_probe_connects(prober: Prober, netns: Path, address: str) -> None:
    sock = run_in_namespace(netns, "net", lambda: _listen(address))
    port = sock.getsockname()[1]
    assert await prober.probe(port, pod_ip=address, tcpSocket={"port": "www"}) == Outcome(Verdict.SUCCESS)
    assert await prober.probe(port, pod_ip="192.0.2.1", tcpSocket={"port": port, "host": address}) == Outcome(
        Verdict.SUCCESS
    )
    sock.close()
    shown = f"[{address}]" if ":" in address else address
    text = f"dial tcp {shown}:{port}: connect: connection refused"
    assert await prober.probe(port, pod_ip=address, tcpSocket={"port": port}) == Outcome(Verdict.FAILURE, text)


async def test_tcp_probe_that_nobody_answers_times_out(prober: Prober, netns: Path) -> None:
    sock = run_in_namespace(netns, "net", lambda: _listen("127.0.0.1", 0))
    port = sock.getsockname()[1]
    fillers = [run_in_namespace(netns, "net", socket.socket) for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    outcome = await prober.probe(port, 0.3, tcpSocket={"port": port})
    assert outcome == Outcome(Verdict.FAILURE, f"dial tcp 127.0.0.1:{port}: i/o timeout")
    for opened in (sock, *fillers):
        opened.close()


@pytest.mark.parametrize(
    ("port", "text"),
    [
        ("nope", 'strconv.Atoi: parsing "nope": invalid syntax'),
        ("70000", "invalid port number: 70000"),
    ],
)
async def test_unknown_port_is_no_fault_of_the_container(prober: Prober, port: str, text: str) -> None:
    assert await prober.probe(80, tcpSocket={"port": port}) == Outcome(Verdict.UNKNOWN, text)
    assert await prober.probe(80, httpGet={"port": port}) == Outcome(Verdict.UNKNOWN, text)


async def test_unknown_host_is_a_failure(prober: Prober) -> None:
    outcome = await prober.probe(80, tcpSocket={"port": 80, "host": "nowhere.invalid"})
    assert outcome == Outcome(Verdict.FAILURE, "dial tcp: lookup nowhere.invalid: no such host")


@pytest.mark.parametrize(
    ("service", "verdict", "text"),
    [
        ("", Verdict.SUCCESS, "service healthy"),
        ("up", Verdict.SUCCESS, "service healthy"),
        ("down", Verdict.FAILURE, 'service unhealthy (responded with "NOT_SERVING")'),
        (
            "gone",
            Verdict.FAILURE,
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service: gone",
        ),
        ("never", Verdict.FAILURE, "timeout: health rpc did not complete within 1s"),
    ],
)
@pytest.mark.parametrize("mode", ["Plaintext", "TLS"])
@covers("GRPCAction.mode")
async def test_grpc_health_decides(
    prober: Prober, netns: Path, tmp_path: Path, mode: str, service: str, verdict: Verdict, text: str
) -> None:
    paths: list[str] = []
    sock = run_in_namespace(netns, "net", lambda: _listen("127.0.0.1"))
    tls = build_server_tls(tmp_path, "h2") if mode == "TLS" else None
    server = await asyncio.get_running_loop().create_server(lambda: HealthService(paths), sock=sock, ssl=tls)
    port = sock.getsockname()[1]
    outcome = await prober.probe(port, 1, grpc={"port": port, "service": service, "mode": mode})
    assert outcome == Outcome(verdict, text)
    assert paths == ["/grpc.health.v1.Health/Check kube-probe/1.37"]
    server.close()


async def test_grpc_probe_waits_for_a_connection_until_its_timeout(prober: Prober, netns: Path) -> None:
    outcome = await prober.probe(1, 1, grpc={"port": 1})
    text = 'timeout: failed to connect service "127.0.0.1:1" within 1s: context deadline exceeded'
    assert outcome == Outcome(Verdict.FAILURE, text)


async def test_grpc_probe_of_an_http_server_fails(prober: Prober, netns: Path) -> None:
    async with PodServer(netns) as server:
        outcome = await prober.probe(server.port, 2, grpc={"port": server.port})
    assert outcome.verdict is Verdict.FAILURE
    assert outcome.text.startswith("error: health rpc probe failed: rpc error: code = Unavailable")


async def test_pod_on_the_hosts_network_is_asked_there(netns: Path) -> None:
    handlers = PodHandlers(FakeRuntime(FakeClock()))
    sock = _listen("127.0.0.1")
    port = sock.getsockname()[1]
    assert await Prober(handlers, None).probe(port, tcpSocket={"port": port}) == Outcome(Verdict.SUCCESS)
    refused = await Prober(handlers, netns).probe(port, tcpSocket={"port": port})
    assert refused.verdict is Verdict.FAILURE
    handlers.close()
    sock.close()


async def test_one_thread_makes_all_sockets_and_keeps_no_namespace(netns: Path, tmp_path: Path) -> None:
    sockets = NamespaceSockets()
    before = threading.active_count()
    made = await asyncio.gather(*(sockets.make(netns, socket.AF_INET) for _ in range(50)))
    assert threading.active_count() == before + 1
    home = os.stat("/proc/self/ns/net").st_ino
    threads = [os.stat(f"/proc/self/task/{task}/ns/net").st_ino for task in os.listdir("/proc/self/task")]
    assert set(threads) == {home}
    for sock in made:
        sock.close()
    with pytest.raises(FileNotFoundError):
        await sockets.make(tmp_path / "gone", socket.AF_INET)
    task = asyncio.ensure_future(sockets.make(netns, socket.AF_INET))
    await asyncio.sleep(0)
    task.cancel()  # What was made for nobody is closed: an open socket would fail this test.
    await asyncio.gather(task, return_exceptions=True)
    sockets.close()
    assert threading.active_count() == before


async def test_probe_that_fails_on_our_side_says_nothing_of_the_container_and_works_again(
    prober: Prober, netns: Path
) -> None:
    async with PodServer(netns, answers={"/": answer("200 OK", "fine")}) as server:
        failpoint.set("probe.10-run", "1*error:EMFILE")
        try:
            outcome = await prober.http(server)
        finally:
            failpoint.clear("probe.10-run")
        assert (outcome.verdict, "failpoint" in outcome.text) == (Verdict.UNKNOWN, True)
        assert await prober.http(server) == Outcome(Verdict.SUCCESS, "fine")
