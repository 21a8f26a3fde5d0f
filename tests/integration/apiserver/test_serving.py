"""The server around the API: discovery, OpenAPI, health, metrics, TLS, forms of answers, failures, shutdown."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.api_requests import CM, Watcher, config, fails, make, watch
from podhost.apiserver import answers


@pytest.mark.parametrize("is_near", [True, False])
async def test_large_answers_are_compressed_for_those_who_are_far(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, is_near: bool
) -> None:
    if not is_near:
        monkeypatch.setattr(answers, "_is_near", lambda request: False)
    body = config("a")
    body["data"] = {"k": "x" * 300_000}
    await make(http, CM, body)
    async with http.get(f"{CM}/a", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers.get("Content-Encoding", "") == ("" if is_near else "gzip")
        assert (await response.json())["data"] == body["data"]


async def test_discovery_in_both_forms(http: aiohttp.ClientSession) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    async with http.get("/apis", headers={"Accept": accept}) as response:
        assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
        groups = [item["metadata"]["name"] for item in (await response.json())["items"]]
    plain = await (await http.get("/apis")).json()
    assert groups == [group["name"] for group in plain["groups"]]
    assert (await (await http.get("/apis/discovery.k8s.io")).json())["kind"] == "APIGroup"
    listed = await (await http.get("/apis/discovery.k8s.io/v1")).json()
    assert listed["resources"][0]["name"] == "endpointslices"
    assert (await (await http.get("/api")).json())["versions"] == ["v1"]
    await fails(http, 404, "GET", "/apis/nonsense.example")


async def test_unexpected_failure_is_an_internal_error_and_logged(
    api: Any, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken part")

    monkeypatch.setattr(api.store, "find", broken)
    status = await fails(http, 500, "GET", f"{CM}/a")
    assert status["reason"] == "InternalError"
    assert "broken part" in caplog.text


async def test_what_is_no_http_is_one_line_in_the_log(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for nonsense in (b"\x00\x9f\xff nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_unix_connection(str(api.socket))
        writer.write(nonsense)
        assert (await reader.readline()).endswith(b" 400 Bad Request\r\n")
        writer.close()
    told = [record for record in caplog.records if "no HTTP" in record.getMessage()]
    assert told
    assert all(record.exc_info is None and record.levelname == "INFO" for record in told)


async def test_anonymous_and_ordinary_users_on_tls(api: Any, pki: Path) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    async with aiohttp.ClientSession(f"https://localhost:{api.port}") as session:
        await fails(session, 401, "GET", CM, ssl=context)
        async with session.get("/version", ssl=context) as response:
            assert (await response.json())["gitVersion"] == "v1.37.1+podhost"
    context.load_cert_chain(pki / "bob.crt", pki / "bob.key")
    async with aiohttp.ClientSession(f"https://localhost:{api.port}") as session:
        await fails(session, 403, "GET", CM, ssl=context)
        async with session.get("/api/v1", ssl=context) as response:
            assert response.status == 200


async def test_shutdown_does_not_wait_for_watches(api: Any, http: aiohttp.ClientSession) -> None:
    async with watch(http, CM) as response:
        assert response.status == 200
        async with asyncio.timeout(1):
            await api.runner.cleanup()


async def test_health_is_told_in_parts(api: Any, http: aiohttp.ClientSession) -> None:
    async def text(path: str) -> tuple[int, str]:
        async with http.get(path) as response:
            return response.status, await response.text()

    assert await text("/livez") == (200, "ok")
    assert await text("/readyz?verbose") == (
        200,
        "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]shutdown ok\nreadyz check passed\n",
    )
    assert await text("/healthz/ping") == (200, "ok")
    await fails(http, 404, "GET", "/healthz/nothing")
    api.store._database.write_failed = True
    assert (await text("/healthz"))[0] == 500
    assert await text("/healthz?exclude=etcd") == (200, "ok")


async def test_metrics_count_requests_watches_and_objects(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a"))
    async with watch(http, CM) as response:
        await Watcher(response).names(1)
        async with http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
    resource = ['group=""', 'version="v1"', 'resource="configmaps"', 'subresource=""', 'scope="namespace"']
    created = next(line for line in lines if line.startswith("apiserver_request_total") and 'verb="POST"' in line)
    assert all(label in created for label in resource)
    assert created.endswith(" 1.0")
    watches = next(line for line in lines if line.startswith("apiserver_longrunning_requests"))
    assert 'verb="WATCH"' in watches
    assert 'apiserver_resource_objects{resource="configmaps"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    assert "kubelet_running_pods 0.0" in lines


async def test_openapi_is_sent_once_to_a_client_that_keeps_it(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi/v3") as response:
        paths = (await response.json())["paths"]
    url = paths["api/v1"]["serverRelativeURL"]
    async with http.get(url) as response:
        etag = response.headers["ETag"]
        assert (response.headers["Content-Encoding"], (await response.json())["openapi"]) == ("gzip", "3.0.0")
    assert etag.strip('"') in url
    async with http.get(url, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")


async def test_people_see_indented_json_and_watches_are_json(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/namespaces/default?pretty=true") as response:
        assert (await response.text()).startswith('{\n  "apiVersion": "v1",\n')
    async with http.get("/api/v1/namespaces/default", headers={"User-Agent": "curl/8"}) as response:
        assert (await response.text()).startswith("{\n")
    yaml_only = {"Accept": "application/yaml"}
    await fails(http, 406, "GET", f"{CM}?watch=1", headers=yaml_only)


async def test_answers_do_not_say_what_software_serves(http: aiohttp.ClientSession) -> None:
    for path in ("/version", f"{CM}/missing", "/nothing"):
        async with http.get(path) as response:
            assert "Server" not in response.headers
    async with watch(http, CM) as response:
        assert "Server" not in response.headers
