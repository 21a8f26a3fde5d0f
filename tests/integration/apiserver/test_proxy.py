"""HTTP and upgrades through the proxy subresources to a server of the test."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from podhost.apiserver import proxy_target
from podhost.store import ObjectKey

POD = "/api/v1/namespaces/default/pods/one"


@dataclass
class Backend:
    """What listens in the pod."""

    port: int = 0
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    open_streams: int = 0

    async def echo(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.raw_path, dict(request.headers), body))
        response = web.Response(body=body, headers={"X-Here": "yes", "Access-Control-Allow-Origin": "*"})
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    async def redirect(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/elsewhere?x=1"})

    async def packed(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})

    async def page(self, request: web.Request) -> web.StreamResponse:
        coding = request.query.get("coding", "")
        page = b"<html><a href='/x'>\xff</a>" + b"<p>text</p>" * 20_000 + b"<img src=/y>"
        packed = {"gzip": gzip.compress(page), "deflate": zlib.compress(page)}.get(coding, page)
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(packed))}
        if coding:
            headers["Content-Encoding"] = coding
        return web.Response(body=packed[: int(request.query.get("cut", len(packed)))], headers=headers)

    async def forever(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.open_streams += 1
        try:
            while True:
                await response.write(b"tick\n")
                await asyncio.sleep(0.02)
        finally:
            self.open_streams -= 1

    async def broken(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"only this")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.query['name']}: {message.data}")
        return socket


@pytest.fixture
async def backend(api: Any, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backend]:
    monkeypatch.setattr(proxy_target, "_is_global_unicast", lambda text: True)
    backend = Backend()
    app = web.Application(client_max_size=1 << 30)
    for path in ("redirect", "packed", "page", "forever", "broken", "socket"):
        app.router.add_get(f"/{path}", getattr(backend, path))
    app.router.add_route("*", "/{path:.*}", backend.echo)
    runner = web.AppRunner(app, handler_cancellation=True, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.port = runner.addresses[0][1]
    body = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    async with http.post("/api/v1/namespaces/default/pods", json=body) as response:
        assert response.status == 201
    api.bind("one")

    def set_address(pod: dict[str, Any]) -> dict[str, Any]:
        pod["status"]["podIPs"] = [{"ip": "127.0.0.1"}]
        return pod

    api.store.mutate(ObjectKey("pods", "default", "one"), set_address)
    yield backend
    await runner.cleanup()


def url(backend: Backend, path: str = "/") -> str:
    return f"{POD}:{backend.port}/proxy{path}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_goes_through_with_path_query_and_body(
    http: aiohttp.ClientSession, backend: Backend, method: str
) -> None:
    path = url(backend, "/a%2Fb//c?x=1&x=%20")
    headers = {"Authorization": "Bearer secret", "X-Mine": "1"}
    target = URL(f"http://podhost{path}", encoded=True)
    async with http.request(method, target, data=b"body", headers=headers) as response:
        assert (response.status, await response.read()) == (200, b"body")
        assert response.headers["X-Here"] == "yes"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert len(response.headers.getall("Set-Cookie")) == 2
    seen_method, seen_path, seen, body = backend.requests[0]
    assert (seen_method, seen_path, body) == (method, "/a%2Fb//c?x=1&x=%20", b"body")
    assert (seen["Host"], seen["X-Mine"], seen["Content-Length"]) == ("podhost", "1", "4")
    assert seen["X-Forwarded-Uri"] == path.partition("?")[0]
    assert "Authorization" not in seen


async def test_head_has_the_length_and_no_body(http: aiohttp.ClientSession, backend: Backend) -> None:
    async with http.head(url(backend, "/packed")) as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) == len(gzip.compress(b"hello"))


async def test_request_without_a_slash_at_the_end_is_sent_there(http: aiohttp.ClientSession, backend: Backend) -> None:
    async with http.get(url(backend, "?q=1"), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, url(backend, "/?q=1"))
    async with http.post(url(backend, ""), data=b"x") as response:
        assert await response.read() == b"x"
    assert backend.requests[0][1] == "/"


async def test_redirect_leads_through_the_proxy(http: aiohttp.ClientSession, backend: Backend) -> None:
    async with http.get(url(backend, "/redirect"), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, url(backend, "/elsewhere?x=1"))


async def test_compressed_answer_stays_as_it_is(http: aiohttp.ClientSession, backend: Backend) -> None:
    async with http.get(url(backend, "/packed")) as response:
        assert (response.headers["Content-Encoding"], await response.read()) == ("gzip", b"hello")


@pytest.mark.parametrize("coding", ["", "gzip", "deflate", "other"])
async def test_links_of_a_page_lead_through_the_proxy(
    http: aiohttp.ClientSession, backend: Backend, coding: str
) -> None:
    async with http.get(url(backend, f"/page?coding={coding}"), auto_decompress=coding != "other") as response:
        body = await response.read()
        assert response.headers.get("Content-Encoding", "") == coding
    prefix = b"" if coding == "other" else url(backend, "").encode()
    first, last = (b"'/x'", b"/y") if coding == "other" else (b'"%s/x"' % prefix, b'"%s/y"' % prefix)
    assert body == b"<html><a href=" + first + b">\xff</a>" + b"<p>text</p>" * 20_000 + b"<img src=" + last + b">"
    async with http.head(url(backend, f"/page?coding={coding}")) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_page_that_is_cut_short_is_not_taken_for_a_whole_one(
    http: aiohttp.ClientSession, backend: Backend
) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with http.get(url(backend, "/page?coding=gzip&cut=100")) as response:
            await response.read()


async def test_large_bodies_stream_both_ways(http: aiohttp.ClientSession, backend: Backend) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(128):
            yield bytes([number]) * (1 << 16)

    async with http.post(url(backend, "/up"), data=parts()) as response:
        received = await response.read()
    assert received == b"".join(bytes([number]) * (1 << 16) for number in range(128))
    assert backend.requests[0][2]["Transfer-Encoding"] == "chunked"


async def test_endless_answer_arrives_as_it_is_written_and_ends_with_its_reader(
    http: aiohttp.ClientSession, backend: Backend
) -> None:
    async with http.get(url(backend, "/forever")) as response:
        assert await response.content.readline() == b"tick\n"
        assert backend.open_streams == 1
        response.close()
    await until(lambda: backend.open_streams == 0)


async def test_broken_answer_is_not_taken_for_a_whole_one(http: aiohttp.ClientSession, backend: Backend) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        async with http.get(url(backend, "/broken")) as response:
            await response.read()


@pytest.mark.parametrize(("scheme", "reason"), [("", "connect: connection refused"), ("https:", "connection refused")])
async def test_pod_where_nobody_listens_is_unavailable(
    http: aiohttp.ClientSession, backend: Backend, scheme: str, reason: str
) -> None:
    async with http.get(f"/api/v1/namespaces/default/pods/{scheme}one:1/proxy/") as response:
        status = await response.json()
    assert (status["code"], status["reason"]) == (503, "ServiceUnavailable")
    assert status["message"] == "error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused"


async def test_plain_server_asked_by_tls_says_so(http: aiohttp.ClientSession, backend: Backend) -> None:
    async with http.get(f"/api/v1/namespaces/default/pods/https:one:{backend.port}/proxy/") as response:
        message = (await response.json())["message"]
    assert message == "error trying to reach service: http: server gave HTTP response to HTTPS client"


async def test_websockets_go_through(http: aiohttp.ClientSession, backend: Backend) -> None:
    async with http.ws_connect(url(backend, "/socket?name=a%20b"), protocols=["chat"]) as socket:
        assert socket.protocol == "chat"
        for text in ("one", "x" * 500000):
            await socket.send_str(text)
            assert await socket.receive_str() == f"a b: {text}"
    await until(lambda: not any(task.get_name().startswith("proxy") for task in asyncio.all_tasks()))


async def test_refused_upgrade_is_handed_on(http: aiohttp.ClientSession, backend: Backend) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with http.get(url(backend, "/socket?name=x"), headers=headers) as response:
        assert response.status == 400
        assert b"Unsupported version" in await response.read()


async def test_upgrade_that_is_ignored_is_an_error(http: aiohttp.ClientSession, backend: Backend) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "other/1"}
    async with http.get(url(backend, "/"), headers=headers) as response:
        assert (response.status, (await response.json())["message"]) == (
            500,
            "invalid upgrade response: status code 200",
        )


async def test_upgrade_to_nobody_is_an_error(http: aiohttp.ClientSession, backend: Backend) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with http.get("/api/v1/namespaces/default/pods/one:1/proxy/", headers=headers) as response:
        assert response.status == 500
        message = (await response.json())["message"]
    assert message == "error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused"


async def test_other_users_may_not(api: Any, backend: Backend) -> None:
    code, _, error = await api.kubectl("get", "--raw", url(backend, "/"), user="bob")
    assert code == 1
    assert 'cannot get resource "pods/proxy"' in error
