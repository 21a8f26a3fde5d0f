"""Events of both groups are the same objects, for every verb, with real kubectl and as plain HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

OLD = "/api/v1/namespaces/default/events"
NEW = "/apis/events.k8s.io/v1/namespaces/default/events"
EVENT = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "robot", "labels": {"by": "robot"}},
    "eventTime": "2026-01-01T00:00:00.000001Z",
    "reportingController": "example.com/robot",
    "reportingInstance": "robot-1",
    "action": "Moving",
    "reason": "Moved",
    "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    "note": "moved it",
    "type": "Normal",
}


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None, kind: str = "json") -> Any:
    headers = {"Content-Type": f"application/{kind}"}
    async with http.request(method, path, data=json.dumps(body) if body else None, headers=headers) as response:
        return response.status, await response.json()


async def test_each_verb_works_in_both_groups(api: Any, http: aiohttp.ClientSession) -> None:
    version = api.store.current_rv()
    code, created = await call(http, "POST", NEW, EVENT)
    assert code == 201, created
    assert (created["apiVersion"], created["note"]) == ("events.k8s.io/v1", "moved it")
    code, old = await call(http, "GET", f"{OLD}/robot")
    assert (old["apiVersion"], old["message"], old["involvedObject"]["name"]) == ("v1", "moved it", "p")
    assert old["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}}
    code, patched = await call(http, "PATCH", f"{NEW}/robot", series, "merge-patch+json")
    assert (code, patched["series"]["count"]) == (200, 2)
    code, refused = await call(http, "PUT", f"{NEW}/robot", patched | {"note": "other"})
    assert (code, refused["details"]["causes"][0]["field"]) == (422, "message")
    code, listed = await call(http, "GET", f"{NEW}?fieldSelector=regarding.name=p,reason=Moved&labelSelector=by")
    assert (listed["kind"], listed["apiVersion"], len(listed["items"])) == ("EventList", "events.k8s.io/v1", 1)
    assert listed["items"][0]["note"] == "moved it"
    code, refused = await call(http, "GET", f"{NEW}?fieldSelector=involvedObject.name=p")
    assert (code, refused["message"]) == (400, "field label not supported: involvedObject.name")
    code, applied = await call(
        http, "PATCH", f"{NEW}/robot?fieldManager=me", {**EVENT, "metadata": {"labels": {"x": "y"}}}, "apply-patch+yaml"
    )
    assert (code, applied["metadata"]["labels"]) == (200, {"by": "robot", "x": "y"})
    code, applied = await call(
        http,
        "PATCH",
        f"{OLD}/robot?fieldManager=you",
        {"apiVersion": "v1", "kind": "Event", "metadata": {"labels": {"z": "y"}}, "involvedObject": {"name": "p"}},
        "apply-patch+yaml",
    )
    assert (code, applied["metadata"]["labels"]) == (200, {"by": "robot", "x": "y", "z": "y"})
    assert (await call(http, "DELETE", f"{OLD}/robot"))[0] == 200
    assert (await call(http, "GET", f"{NEW}/robot"))[0] == 404
    for path, field in ((NEW, "note"), (OLD, "message")):
        async with http.get(f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=1") as response:
            changes = [json.loads(line) async for line in response.content]
        assert [change["type"] for change in changes] == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
        assert {change["object"][field] for change in changes} == {"moved it"}


async def test_an_incomplete_event_is_refused_in_the_new_group_only(http: aiohttp.ClientSession) -> None:
    bare = {key: EVENT[key] for key in ("metadata", "regarding")} | {"eventTime": None}
    code, refused = await call(http, "POST", NEW, bare)
    assert code == 422
    assert {cause["field"] for cause in refused["details"]["causes"]} == {"eventTime", "type"}
    old = {"metadata": {"name": "old"}, "involvedObject": {"namespace": "default"}}
    assert (await call(http, "POST", OLD, old))[0] == 201
    assert (await call(http, "DELETE", f"{NEW}?fieldSelector=metadata.name=old"))[0] == 200
    assert (await call(http, "GET", OLD))[1]["items"] == []


async def test_kubectl_lists_watches_and_explains_both(api: Any) -> None:
    await api.ok("create", "-f", "-", stdin=json.dumps(EVENT).encode())
    table = await api.ok("get", "events.v1.events.k8s.io", "-o", "wide")
    assert table.split()[:4] == ["LAST", "SEEN", "TYPE", "REASON"]
    assert table == await api.ok("get", "events.v1.", "-o", "wide")
    assert "pod/p" in table
    assert (await api.ok("get", "events", "-o", "jsonpath={.items[0].apiVersion}")) == "v1"
    resources = await api.ok("api-resources", "--no-headers")
    assert [line.split()[:3] for line in resources.splitlines() if line.startswith("events")] == [
        ["events", "ev", "v1"],
        ["events", "ev", "events.k8s.io/v1"],
    ]
    assert "regarding" in await api.ok("explain", "events", "--api-version=events.k8s.io/v1")
    watching = await api.start_kubectl("get", "events.v1.events.k8s.io", "-w", "-o", "name")
    assert (await asyncio.wait_for(watching.stdout.readline(), 20)).decode() == "event.events.k8s.io/robot\n"
    watching.terminate()
    await watching.communicate()
