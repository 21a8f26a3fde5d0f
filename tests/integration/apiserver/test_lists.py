"""Pages, versions and expiry of lists and watches, as plain HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from podhost.apiserver import answers
from podhost.store import ObjectKey
from podhost.store import store as store_module

CM = "/api/v1/namespaces/default/configmaps"
INVALID = 'ListOptions.meta.k8s.io "" is invalid: '


@pytest.fixture
async def http(api: Any) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(api.socket), limit=0)
    async with aiohttp.ClientSession("http://podhost", connector=connector) as session:
        yield session


def make(api: Any, name: str, **data: str) -> int:
    metadata = {"name": name, "namespace": "default", "uid": name}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return int(api.store.create(ObjectKey("configmaps", "default", name), config)["metadata"]["resourceVersion"])


async def get(http: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with http.get(path) as response:
        return response.status, await response.json()


def names(page: Any) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


async def test_pages_show_one_state_whatever_is_written_between_them(api: Any, http: aiohttp.ClientSession) -> None:
    for name in "abcde":
        make(api, name)
    _, first = await get(http, f"{CM}?limit=2")
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["a", "b"], 3)
    api.store.delete(ObjectKey("configmaps", "default", "d"))
    make(api, "cc")
    _, second = await get(http, f"{CM}?limit=2&continue={first['metadata']['continue']}")
    _, third = await get(http, f"{CM}?limit=2&continue={second['metadata']['continue']}")
    assert (names(second), names(third)) == (["c", "d"], ["e"])
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
    assert len(versions) == 1
    _, exact = await get(http, f"{CM}?resourceVersion={versions.pop()}&resourceVersionMatch=Exact")
    assert names(exact) == ["a", "b", "c", "d", "e"]


async def test_an_expired_page_goes_on_inconsistently(api: Any, http: aiohttp.ClientSession) -> None:
    for name in "abc":
        make(api, name)
    _, first = await get(http, f"{CM}?limit=1")
    for number in range(store_module.HISTORY_LIMIT // 100):
        make(api, f"x{number}")
    api.store._database._history_limit = 10
    make(api, "y")
    code, status = await get(http, f"{CM}?limit=1&continue={first['metadata']['continue']}")
    assert (code, status["reason"]) == (410, "Expired")
    assert status["message"].startswith("The provided continue parameter is too old to display a consistent list")
    _, rest = await get(http, f"{CM}?limit=2&continue={status['metadata']['continue']}")
    assert names(rest) == ["b", "c"]
    old = first["metadata"]["resourceVersion"]
    code, status = await get(http, f"{CM}?resourceVersion={old}&resourceVersionMatch=Exact")
    assert (code, status["message"]) == (410, "The resourceVersion for the provided list is too old.")
    async with http.get(f"{CM}?watch=1&resourceVersion={old}") as response:
        event = json.loads(await response.content.readline())
    assert (response.status, event["type"], event["object"]["code"]) == (200, "ERROR", 410)


@pytest.mark.parametrize("is_near", [True, False])
@pytest.mark.parametrize("count", [0, 1, 150, 2_500])
async def test_a_list_of_any_length_comes_whole_and_compressed_to_those_who_are_far(
    api: Any, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, count: int, is_near: bool
) -> None:
    monkeypatch.setattr(answers, "_is_near", lambda request: is_near)
    for number in range(count):
        make(api, f"n{number:05}", k="x" * 300)
    _, version = api.store.list("configmaps")
    for again in range(2):
        async with http.get(f"{CM}?again={again}") as response:
            listed = await response.json()
            is_compressed = response.headers.get("Content-Encoding") == "gzip"
            assert is_compressed == (count > 100 and not is_near)
        assert names(listed) == [f"n{number:05}" for number in range(count)]
        assert listed["kind"] == "ConfigMapList"
        assert listed["metadata"] == {"resourceVersion": str(version)}
    async with http.get(f"{CM}?pretty=true") as response:
        assert await response.json() == listed
    _, first = await get(http, f"{CM}?limit=500")
    assert first["items"] == listed["items"][:500]


async def test_a_long_list_is_of_one_moment_and_holds_up_nobody(api: Any, http: aiohttp.ClientSession) -> None:
    for number in range(1_000):
        make(api, f"n{number:05}", k="x" * 2_000)
    async with http.get(CM) as response:
        api.store.delete(ObjectKey("configmaps", "default", "n00999"))
        async with http.get("/livez") as other:
            assert other.status == 200
        assert len((await response.json())["items"]) == 1_000


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("resourceVersionMatch=Exact", 422, INVALID + "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, INVALID + 'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
        ("resourceVersion=5&resourceVersionMatch=Some", 422, INVALID + 'resourceVersionMatch: Unsupported value: "Some": supported values: "Exact", "NotOlderThan", ""'),
        ("sendInitialEvents=true", 422, INVALID + "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ("resourceVersion=x", 400, 'invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
        ("watch=1&resourceVersion=x", 422, 'configmaps "" is invalid: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
        ("continue=x", 400, "continue key is not valid: "),
        ("resourceVersion=999999", 504, "Timeout: Too large resource version: 999999, current: "),
        ("fieldSelector=spec.x=1", 400, '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("labelSelector=a=b=c", 400, "unable to parse requirement: "),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked(http: aiohttp.ClientSession, query: str, code: int, message: str) -> None:
    answered, status = await get(http, f"{CM}?{query}")
    assert (answered, status["message"][: len(message)]) == (code, message)


async def test_the_lease_of_the_node_is_renewed_when_it_is_read(api: Any, http: aiohttp.ClientSession) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "uid": "u"},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40, "renewTime": "2020-01-01T00:00:01.000000Z"},
    }
    stored = api.store.create(ObjectKey("leases.coordination.k8s.io", "kube-node-lease", "n1"), lease)
    await http.post("/api/v1/namespaces", json={"metadata": {"name": "kube-node-lease"}})
    _, shown = await get(http, f"{path}/n1")
    now = datetime.now(UTC)
    beat = datetime.fromisoformat(shown["spec"]["renewTime"])
    assert (now - beat).total_seconds() < 15
    assert beat.second % 10 == 1
    assert shown["metadata"] == stored["metadata"]
    _, listed = await get(http, path)
    assert listed["items"][0]["spec"]["renewTime"] >= shown["spec"]["renewTime"]
    async with http.get(f"{path}?watch=1") as response:
        event = json.loads(await response.content.readline())
    assert event["object"]["spec"]["renewTime"] >= shown["spec"]["renewTime"]
    patch = {"metadata": {"labels": {"a": "b"}}}
    async with http.patch(
        f"{path}/n1", json=patch, headers={"Content-Type": "application/merge-patch+json"}
    ) as response:
        patched = await response.json()
    assert patched["metadata"]["labels"] == {"a": "b"}
    fields = [entry["fieldsV1"] for entry in patched["metadata"].get("managedFields", ())]
    assert "f:spec" not in str(fields), "who labels a lease has not renewed it"
