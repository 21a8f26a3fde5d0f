"""The API as plain HTTP: what kubectl does not show."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from podhost.apiserver import answers
from podhost.cri.images import PullProgress

CM = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
OWN = "/apis/podhost.dev/v1alpha1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def config(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}}


def pod(name: str = "one") -> dict[str, Any]:
    containers = [{"name": "c", "image": "nginx"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers}}


async def make(http: aiohttp.ClientSession, path: str, body: Any) -> dict[str, Any]:
    async with http.post(path, json=body) as response:
        assert response.status == 201, await response.text()
        return await response.json()  # type: ignore[no-any-return]


async def fails(http: aiohttp.ClientSession, code: int, method: str, path: str, **options: Any) -> dict[str, Any]:
    async with http.request(method, path, **options) as response:
        status = await response.json()
        assert (response.status, status["kind"], status["code"]) == (code, "Status", code), status
        return status  # type: ignore[no-any-return]


class Watcher:
    """Reads events of a watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(5):
            line = await self.response.content.readline()
        event = json.loads(line)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        events = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"].get("name", "")) for kind, obj in events]


def watch(http: aiohttp.ClientSession, path: str, query: str = "", **options: Any) -> Any:
    return http.get(f"{path}?watch=1&{query}", timeout=aiohttp.ClientTimeout(total=None), **options)


async def test_watch_without_a_version_begins_with_what_is_there(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a"))
    async with watch(http, CM) as response:
        watcher = Watcher(response)
        assert await watcher.names(1) == [("ADDED", "a")]
        await make(http, CM, config("b"))
        await http.delete(f"{CM}/a")
        assert await watcher.names(2) == [("ADDED", "b"), ("DELETED", "a")]


async def test_watch_from_a_version_misses_nothing(api: Any, http: aiohttp.ClientSession) -> None:
    first = await make(http, CM, config("a"))
    await make(http, CM, config("b"))
    version = first["metadata"]["resourceVersion"]
    async with watch(http, CM, f"resourceVersion={version}") as response:
        assert await Watcher(response).names(1) == [("ADDED", "b")]


async def test_streaming_list_ends_with_an_annotated_bookmark(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watch(http, CM, query) as response:
        watcher = Watcher(response)
        assert await watcher.names(1) == [("ADDED", "a")]
        kind, bookmark = await watcher.next()
        assert (kind, bookmark["kind"]) == ("BOOKMARK", "ConfigMap")
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert bookmark["metadata"]["resourceVersion"] == str(api.store.current_rv())


async def test_initial_events_without_a_version_match_are_refused(http: aiohttp.ClientSession) -> None:
    status = await fails(http, 422, "GET", f"{CM}?watch=1&sendInitialEvents=true")
    assert "NotOlderThan" in status["message"]


async def test_watch_with_selector_synthesizes_added_and_deleted(http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a", app="db"))
    async with watch(http, CM, "labelSelector=app%3Dweb") as response:
        watcher = Watcher(response)
        for app in ("web", "db"):
            await http.patch(
                f"{CM}/a",
                json={"metadata": {"labels": {"app": app}}},
                headers={"Content-Type": "application/merge-patch+json"},
            )
        assert await watcher.names(2) == [("ADDED", "a"), ("DELETED", "a")]


async def test_watch_of_forgotten_history_says_gone(http: aiohttp.ClientSession) -> None:
    async with watch(http, CM, "resourceVersion=99999999") as response:
        kind, status = await Watcher(response).next()
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert await response.content.read() == b""


async def test_watch_ends_at_its_timeout_with_a_bookmark(api: Any, http: aiohttp.ClientSession) -> None:
    async with watch(http, CM, "timeoutSeconds=1&allowWatchBookmarks=1") as response:
        watcher = Watcher(response)
        for annotations in ({"k8s.io/initial-events-end": "true"}, None):
            kind, bookmark = await watcher.next()
            assert (kind, bookmark["metadata"]["resourceVersion"]) == ("BOOKMARK", str(api.store.current_rv()))
            assert bookmark["metadata"].get("annotations") == annotations
        assert await response.content.read() == b""
    version = api.store.current_rv()
    async with watch(http, CM, f"timeoutSeconds=1&allowWatchBookmarks=1&resourceVersion={version}") as response:
        kind, bookmark = await Watcher(response).next()
        assert (kind, "annotations" in bookmark["metadata"]) == ("BOOKMARK", False)
        assert await response.content.read() == b""


async def test_watch_as_table_sends_columns_once(http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a"))
    await make(http, CM, config("b"))
    async with watch(http, CM, headers={"Accept": TABLE}) as response:
        watcher = Watcher(response)
        (_, first), (_, second) = await watcher.next(), await watcher.next()
        assert first["kind"] == second["kind"] == "Table"
        assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert second["columnDefinitions"] == []
        assert second["rows"][0]["object"]["metadata"]["name"] == "b"


async def test_watch_of_a_vanished_client_is_ended(api: Any, http: aiohttp.ClientSession) -> None:
    async with watch(http, CM) as response:
        assert response.status == 200
        assert api.store._watches["configmaps"]
    async with asyncio.timeout(5):
        while api.store._watches["configmaps"]:
            await asyncio.sleep(0.01)


async def test_pages_of_a_list(http: aiohttp.ClientSession) -> None:
    for name in ("a", "b", "c"):
        await make(http, CM, config(name))
    first = await (await http.get(f"{CM}?limit=2")).json()
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    token = first["metadata"]["continue"]
    second = await (await http.get(CM, params={"limit": "2", "continue": token})).json()
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert "continue" not in second["metadata"]
    assert second["kind"] == "ConfigMapList"


async def test_field_selectors(http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a"))
    await make(http, CM, config("b"))
    found = await (await http.get(f"{CM}?fieldSelector=metadata.name%3Db")).json()
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    status = await fails(http, 400, "GET", f"{CM}?fieldSelector=spec.nonsense%3Db")
    assert '"spec.nonsense" is not a known field selector' in status["message"]
    await fails(http, 400, "GET", f"{CM}?labelSelector=a+b+c")


async def test_version_from_the_future_is_refused(http: aiohttp.ClientSession) -> None:
    status = await fails(http, 504, "GET", f"{CM}?resourceVersion=99999999")
    assert "Too large resource version" in status["message"]


async def test_yaml_goes_in_and_out(http: aiohttp.ClientSession) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {day: 2026-11-23}\n"
    headers = {"Content-Type": "application/yaml", "Accept": "application/yaml"}
    status = await (await http.post(CM, data=text, headers=headers)).text()
    assert yaml.safe_load(status)["data"] == {"day": "2026-11-23"}


async def test_bodies_that_cannot_be_understood(http: aiohttp.ClientSession) -> None:
    await fails(http, 400, "POST", CM, data=b"{", headers={"Content-Type": "application/json"})
    await fails(http, 400, "POST", CM, data=b"a: [", headers={"Content-Type": "application/yaml"})
    await fails(http, 400, "POST", CM, data=b"", headers={"Content-Type": "application/json"})
    await fails(http, 400, "POST", CM, data=b"[]", headers={"Content-Type": "application/json"})
    await fails(
        http, 400, "POST", CM, data=b"k8s\0\xff", headers={"Content-Type": "application/vnd.kubernetes.protobuf"}
    )
    await fails(http, 415, "POST", CM, data=b"x", headers={"Content-Type": "text/plain"})
    await fails(http, 400, "POST", CM, json={"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}})
    await fails(http, 400, "POST", CM, json={"kind": "Nonsense", "apiVersion": "v9"})
    status = await fails(http, 400, "POST", CM, json={"metadata": {"name": "x"}, "data": {"a": 1}})
    assert "cannot unmarshal number into Go struct field ConfigMap.data of type string" in status["message"]
    await fails(http, 400, "POST", CM, json={"metadata": {"name": "x", "namespace": "other"}})


async def test_body_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    body = io.BytesIO(b'{"data": {"a": "' + b"x" * 4_000_000 + b'"}}')
    status = await fails(http, 413, "POST", CM, data=body, headers={"Content-Type": "application/json"})
    assert status["reason"] == "RequestEntityTooLarge"


async def test_apply_patch_is_refused_in_kubernetes_words(http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml"}
    status = await fails(http, 422, "PATCH", f"{CM}/a", data=b"{}", headers=headers)
    assert status["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )
    status = await fails(http, 400, "PATCH", f"{CM}/a?fieldManager=x", data=b"apiVersion: v2", headers=headers)
    assert status["message"] == (
        "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1"
    )
    await make(http, CM, config("a"))
    merge = {"Content-Type": "application/merge-patch+json"}
    status = await fails(http, 422, "PATCH", f"{CM}/a?force=true&fieldManager=%07", data=b"{}", headers=merge)
    assert status["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: '
        '[fieldManager: Invalid value: "\\u0007": invalid character U+0007 (at position 0), '
        "force: Forbidden: may not be specified for non-apply patch]"
    )


async def test_unknown_paths_methods_and_names(http: aiohttp.ClientSession) -> None:
    assert (await fails(http, 404, "GET", "/nothing"))["message"] == "the server could not find the requested resource"
    await fails(http, 404, "GET", "/apis/apps/v1/deployments")
    await fails(http, 405, "POST", f"{CM}/a")
    await fails(http, 404, "DELETE", f"{CM}/a")
    await fails(http, 406, "GET", CM, headers={"Accept": "text/html"})


async def test_generated_names_and_identity(http: aiohttp.ClientSession) -> None:
    made = await make(
        http,
        CM,
        {
            "metadata": {
                "generateName": "job-",
                "uid": "mine",
                "deletionTimestamp": "2026-01-01T00:00:00Z",
            }
        },
    )
    metadata = made["metadata"]
    assert metadata["name"].startswith("job-")
    assert len(metadata["name"]) == 9
    assert metadata["uid"] != "mine"
    assert "deletionTimestamp" not in metadata
    assert made["kind"] == "ConfigMap"


async def test_update_needs_the_right_name_uid_and_version(http: aiohttp.ClientSession) -> None:
    made = await make(http, CM, config("a"))
    path = f"{CM}/a"
    await fails(http, 400, "PUT", path, json={**made, "metadata": {**made["metadata"], "name": "b"}})
    status = await fails(http, 409, "PUT", path, json={**made, "metadata": {**made["metadata"], "uid": "x"}})
    assert "Precondition failed: UID in precondition: x" in status["message"]
    status = await fails(
        http, 409, "PUT", path, json={**made, "metadata": {**made["metadata"], "resourceVersion": "1"}}
    )
    assert status["reason"] == "Conflict"
    async with http.put(path, json=config("a", new="label")) as response:
        changed = await response.json()
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert changed["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


async def test_finalizers_hold_an_object_until_they_are_gone(http: aiohttp.ClientSession) -> None:
    body = config("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await make(http, CM, body)
    await http.delete(f"{CM}/a")
    held = await (await http.get(f"{CM}/a")).json()
    assert held["metadata"]["deletionTimestamp"]
    patch = {"metadata": {"finalizers": None}}
    await http.patch(f"{CM}/a", json=patch, headers={"Content-Type": "application/merge-patch+json"})
    await fails(http, 404, "GET", f"{CM}/a")


async def test_delete_preconditions_and_options_in_the_body(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    api.bind("one")
    await fails(http, 409, "DELETE", f"{PODS}/one", json={"preconditions": {"uid": "other"}})
    first = await (await http.delete(f"{PODS}/one", json={"gracePeriodSeconds": 10})).json()
    assert first["metadata"]["deletionGracePeriodSeconds"] == 10
    second = await (await http.delete(f"{PODS}/one?gracePeriodSeconds=3")).json()
    assert second["metadata"]["deletionGracePeriodSeconds"] == 3
    third = await (await http.delete(f"{PODS}/one?gracePeriodSeconds=20")).json()
    assert third["metadata"]["deletionGracePeriodSeconds"] == 3


async def test_status_and_spec_have_separate_doors(api: Any, http: aiohttp.ClientSession) -> None:
    made = await make(http, PODS, {**pod(), "status": {"phase": "Succeeded"}})
    assert made["status"]["phase"] == "Pending"
    changed = {**made, "status": {**made["status"], "phase": "Running"}, "spec": {"containers": []}}
    answer = await (await http.put(f"{PODS}/one/status", json=changed)).json()
    assert answer["status"]["phase"] == "Running"
    assert answer["spec"] == made["spec"]
    again = await (await http.get(f"{PODS}/one/status")).json()
    assert again["status"]["phase"] == "Running"


async def test_binding_gives_a_pod_its_node_once(http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "one"},
        "target": {"kind": "Node", "name": "n1"},
    }
    await make(http, f"{PODS}/one/binding", binding)
    bound = await (await http.get(f"{PODS}/one")).json()
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    status = await fails(http, 409, "POST", f"{PODS}/one/binding", json=binding)
    assert 'pod one is already assigned to node "n1"' in status["message"]


async def test_warnings_are_headers(http: aiohttp.ClientSession) -> None:
    body = {**pod(), "metadata": {"name": "one", "colour": "red"}}
    async with http.post(f"{PODS}?fieldValidation=Warn", json=body) as response:
        assert response.status == 201
        assert '299 - "unknown field \\"metadata.colour\\""' in response.headers.getall("Warning")
    await fails(http, 400, "POST", f"{PODS}?fieldValidation=Strict", json=body)
    await fails(http, 422, "POST", f"{PODS}?fieldValidation=Sometimes", json=body)
    await fails(http, 422, "POST", f"{PODS}?dryRun=Some", json=body)


async def test_metadata_only_and_tables(http: aiohttp.ClientSession) -> None:
    await make(http, CM, config("a"))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    found = await (await http.get(CM, headers={"Accept": accept})).json()
    assert found["kind"] == "PartialObjectMetadataList"
    assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}
    table = await (await http.get(f"{CM}?includeObject=Object", headers={"Accept": TABLE})).json()
    assert table["rows"][0]["cells"][:2] == ["a", 1]
    assert table["rows"][0]["object"]["data"] == {"k": "v"}
    table = await (await http.get(f"{CM}/a?includeObject=None", headers={"Accept": TABLE})).json()
    assert "object" not in table["rows"][0]


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


async def test_exec_over_v4_with_stdin_and_resize(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    api.bind("one")
    url = f"{PODS}/one/exec?command=cat&stdin=true&stdout=true&tty=true"
    async with http.ws_connect(url, protocols=["v4.channel.k8s.io"]) as ws:
        assert ws.protocol == "v4.channel.k8s.io"
        assert (await ws.receive_bytes()) == b"\x01"
        await ws.send_bytes(b'\x04{"Width":100,"Height":40}')
        await ws.send_bytes(b"\x00hello")
        assert (await ws.receive_bytes()) == b"\x01hello"
        assert api.node.sessions[0].sizes == [(100, 40)]
    async with asyncio.timeout(5):
        while not api.node.sessions[0].closed:
            await asyncio.sleep(0.01)


async def test_exec_in_the_text_form_of_channels(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    api.bind("one")
    url = f"{PODS}/one/exec?command=cat&stdin=true&stdout=true"
    async with http.ws_connect(url, protocols=["base64.channel.k8s.io"]) as ws:
        assert await ws.receive_str() == "1"
        await ws.send_str("0aGk=")
        assert await ws.receive_str() == "1aGk="
        await ws.send_str("0not base64")
        assert (await ws.receive_str()).startswith("3")
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_exec_without_an_upgrade_is_refused(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    await fails(http, 400, "GET", f"{PODS}/one/exec?command=true&stdout=true")
    api.bind("one")
    status = await fails(http, 400, "GET", f"{PODS}/one/exec?command=true&stdout=true")
    assert status["message"] == "Upgrade request required"
    await fails(http, 400, "GET", f"{PODS}/one/exec")


async def test_log_options_are_checked(api: Any, http: aiohttp.ClientSession) -> None:
    await make(http, PODS, pod())
    status = await fails(http, 422, "GET", f"{PODS}/one/log?tailLines=-1&limitBytes=0")
    assert 'PodLogOptions "one" is invalid' in status["message"]
    await fails(http, 400, "GET", f"{PODS}/one/log?tailLines=x")
    assert await (await http.get(f"{PODS}/one/log")).text() == ""


async def test_images_are_pulled_with_progress(api: Any, http: aiohttp.ClientSession) -> None:
    lines = (await (await http.post(f"{OWN}/images/pull", json={"ref": "nginx"})).text()).splitlines()
    progress, done = (json.loads(line) for line in lines)
    assert progress["progress"]["phase"] == "downloading"
    assert done["image"]["repo_tags"] == ["nginx"]
    listed = await (await http.get(f"{OWN}/images")).json()
    assert len(listed["items"]) == 1
    assert (await (await http.get(f"{OWN}/images/nginx")).json())["size_bytes"] == 5
    await http.delete(f"{OWN}/images/nginx")
    status = await fails(http, 404, "DELETE", f"{OWN}/images/nginx")
    assert status["message"] == 'cannot remove image "nginx": no such image'
    await fails(http, 404, "GET", f"{OWN}/images/docker.io%2Flibrary%2Fnginx")


async def test_progress_of_all_pulls_can_be_watched(api: Any, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{OWN}/pulls") as response:
        assert json.loads(await response.content.readline())["progress"]["ref"] == "already/running"
        (tell,) = api.images.watchers
        tell(PullProgress(ref="nginx", phase="downloading", done_bytes=3, total_bytes=9))
        line = json.loads(await response.content.readline())
        assert line["progress"]["done_bytes"] == 3
    async with asyncio.timeout(5):
        while api.images.watchers:
            await asyncio.sleep(0)


async def test_failed_pull_ends_with_its_reason(http: aiohttp.ClientSession) -> None:
    (line,) = (await (await http.post(f"{OWN}/images/pull", json={"ref": "absent"})).text()).splitlines()
    assert 'cannot pull "absent": manifest unknown' in json.loads(line)["error"]["message"]
    await fails(http, 400, "POST", f"{OWN}/images/pull", json={})


async def test_the_rest_of_podhosts_own_api(api: Any, http: aiohttp.ClientSession) -> None:
    text = await (await http.post(f"{OWN}/images/build", json={"context": "/tmp", "name": "x"})).text()
    assert [list(json.loads(line)) for line in text.splitlines()] == [["output"], ["image"]]
    text = await (await http.post(f"{OWN}/images/load", json={"source": "oci:/x", "name": "x"})).text()
    assert json.loads(text)["images"][0]["repo_tags"] == ["x"]
    assert (await (await http.post(f"{OWN}/images/prune", json={})).json()) == {"images_removed": 2, "bytes_freed": 100}
    assert (await (await http.get(f"{OWN}/kubeconfig")).json()) == {"text": "kind: Config\n"}
    info = await (await http.get(f"{OWN}/info")).json()
    assert (info["instance"], info["version"]) == ("test", "9")
    await http.post(f"{OWN}/stop", json={"pods": "leave"})
    assert api.stopped == [{"pods": "leave"}]


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
