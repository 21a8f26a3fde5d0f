"""The proxy subresource of the node: its kubelet's paths, its other ports, and who may."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web

from podhost.apiserver import proxy_target
from podhost.store import ObjectKey

NODE = "/api/v1/nodes/n1/proxy"


@pytest.fixture(autouse=True)
def node(api: Any) -> None:
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": "n1"}]
    document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "u"}}
    api.store.create(ObjectKey("nodes", "", "n1"), {**document, "spec": {}, "status": {"addresses": addresses}})


@pytest.mark.parametrize("name", ["n1", "n1:10250", "https:n1:10250"])
async def test_kubelets_paths_are_answered(api: Any, http: aiohttp.ClientSession, name: str) -> None:
    async with http.get(f"/api/v1/nodes/{name}/proxy/healthz?verbose=1") as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "text/plain", b"ok")
    assert api.node.http.asked == [("/healthz", {"verbose": "1"})]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", f"{NODE}/exec/x", 404, "podhost has no /exec/x of a kubelet; it has /healthz"),
        ("GET", NODE, 404, "podhost has no / of a kubelet; it has /healthz"),
        ("POST", f"{NODE}/healthz", 405, "the kubelet's paths can only be read: /healthz"),
        ("GET", "/api/v1/nodes/n2/proxy/healthz", 404, 'nodes "n2" not found'),
        ("GET", "/api/v1/nodes/a:b:c:d/proxy/healthz", 400, 'invalid node request "a:b:c:d"'),
        ("GET", "/api/v1/nodes/n1:9100/proxy/metrics", 400, "address not allowed"),
    ],
)
async def test_what_there_is_not_is_said(
    http: aiohttp.ClientSession, method: str, path: str, status: int, message: str
) -> None:
    async with http.request(method, path) as answer:
        document = await answer.json()
    assert (answer.status, document["kind"], document["message"]) == (status, "Status", message)


async def test_other_ports_of_the_node_are_reached(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_target, "_is_global_unicast", lambda address: address == "127.0.0.1")

    async def tell(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.path}?{request.query_string}")

    app = web.Application()
    app.router.add_get("/metrics/a", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with http.get(f"/api/v1/nodes/n1:{port}/proxy/metrics/a?b=c") as answer:
            assert await answer.text() == "/metrics/a?b=c"
    finally:
        await runner.cleanup()


async def test_discovery_names_the_subresource(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1") as answer:
        resources = {each["name"]: each for each in (await answer.json())["resources"]}
    assert resources["nodes/proxy"]["kind"] == "NodeProxyOptions"
    assert resources["nodes/proxy"]["verbs"] == ["create", "delete", "get", "patch", "update"]
