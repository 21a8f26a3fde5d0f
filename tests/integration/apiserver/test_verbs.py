"""Options of the verbs, as plain HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from podhost.apiserver import identity

CM = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@pytest.fixture
async def http(api: Any) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(api.socket))
    async with aiohttp.ClientSession("http://podhost", connector=connector) as session:
        yield session


class Answer:
    def __init__(self, response: aiohttp.ClientResponse, body: Any) -> None:
        self.code, self.body = response.status, body
        self.warnings = [text.removeprefix("299 - ") for text in response.headers.getall("Warning", [])]

    @property
    def message(self) -> str:
        text: str = self.body["message"]
        return text


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None, kind: str = "") -> Answer:
    headers = {"Content-Type": TYPES.get(kind, kind or "application/json")}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    async with http.request(method, path, data=data, headers=headers) as response:
        return Answer(response, await response.json())


def config(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"k": "v"}}


async def test_no_write_of_a_dry_run_is_kept(api: Any, http: aiohttp.ClientSession) -> None:
    assert (await call(http, "POST", CM, config("kept"))).code == 201
    version = api.store.current_rv()
    dry = "?dryRun=All&fieldManager=x"
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}}
    for method, path, body, kind in (
        ("POST", CM, config("new"), ""),
        ("PUT", f"{CM}/kept", config("kept", labels={"a": "b"}), ""),
        ("PATCH", f"{CM}/kept", {"data": {"k": "x"}}, "merge"),
        ("PATCH", f"{CM}/kept", {"data": {"k": "x"}}, "strategic"),
        ("PATCH", f"{CM}/kept", [{"op": "remove", "path": "/data"}], "json"),
        ("PATCH", f"{CM}/other", config("other"), "apply"),
        ("DELETE", f"{CM}/kept", None, ""),
        ("DELETE", CM, None, ""),
        ("POST", "/api/v1/namespaces/default/services", service, ""),
    ):
        answer = await call(http, method, path + dry, body, kind)
        assert answer.code in (200, 201), (method, path, answer.body)
    assert api.store.current_rv() == version
    assert (await call(http, "DELETE", f"{CM}/kept", {"dryRun": ["All"]})).code == 200
    assert api.store.current_rv() == version
    answer = await call(http, "DELETE", f"{CM}/kept", {"dryRun": ["Some"], "propagationPolicy": "No"})
    assert answer.code == 422
    assert answer.message.startswith(
        'DeleteOptions.meta.k8s.io "" is invalid: [propagationPolicy: Unsupported value: "No": '
        'supported values: "Foreground", "Background", "Orphan", "nil"'
    )


async def test_generated_names_are_tried_again_and_then_given_up(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"metadata": {"generateName": "x-"}}
    names = iter(["x-a", "x-a", "x-b", *["x-a"] * 8])
    monkeypatch.setattr(identity, "generate_name", lambda _: next(names))
    assert (await call(http, "POST", CM, body)).body["metadata"]["name"] == "x-a"
    assert (await call(http, "POST", CM, body)).body["metadata"]["name"] == "x-b"
    answer = await call(http, "POST", CM, body)
    assert (answer.code, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.message == (
        'configmaps "x-a" already exists, the server was not able to generate a unique name for the object'
    )


async def test_unknown_and_repeated_fields_are_told_or_refused(http: aiohttp.ClientSession) -> None:
    text = b'{"metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}, "colour": "red"}'
    answer = await call(http, "POST", CM, text)
    assert answer.warnings == [r'"duplicate field \"data.k\""', r'"unknown field \"colour\""']
    assert answer.body["data"] == {"k": "2"}
    answer = await call(http, "POST", f"{CM}?fieldValidation=Strict", text)
    assert (answer.code, answer.message) == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'duplicate field "data.k", unknown field "colour"',
    )
    assert (await call(http, "PUT", f"{CM}/a?fieldValidation=Ignore", text)).warnings == []
    text = b"metadata: {name: b}\ndata: {k: a, k: b}\ncolour: red\n"
    answer = await call(http, "POST", CM, text, "application/yaml")
    assert answer.warnings == [r'"line 2: key \"k\" already set in map"', r'"unknown field \"colour\""']
    answer = await call(http, "PATCH", f"{CM}/a?fieldValidation=Strict", {"colour": "red"}, "merge")
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert answer.message.startswith(' "" is invalid: patch: Invalid value: "{')
    assert answer.message.endswith('strict decoding error: unknown field "colour"')
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: a\n  k: b\n"
    answer = await call(http, "PATCH", f"{CM}/a?fieldManager=x&force=true&fieldValidation=Strict", text, "apply")
    assert (answer.code, answer.message) == (
        400,
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 6: key "k" already set in map',
    )


async def test_preconditions_hold_for_deletion_and_update(http: aiohttp.ClientSession) -> None:
    made = (await call(http, "POST", CM, config("a"))).body["metadata"]
    answer = await call(http, "DELETE", f"{CM}/a", {"preconditions": {"uid": "other"}})
    assert (answer.code, answer.message) == (
        409,
        'Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: other, '
        f"UID in object meta: {made['uid']}",
    )
    assert (await call(http, "DELETE", f"{CM}/a", {"preconditions": {"resourceVersion": "1"}})).code == 409
    assert (await call(http, "PUT", f"{CM}/a", config("a", uid="other"))).code == 409
    assert (await call(http, "PUT", f"{CM}/a", config("a", resourceVersion="1"))).code == 409
    good = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    answer = await call(http, "DELETE", f"{CM}/a", {"preconditions": good})
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "a", "kind": "configmaps", "uid": made["uid"]},
    }


async def test_propagation_leaves_its_finalizer_for_the_garbage_collector(http: aiohttp.ClientSession) -> None:
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        name = policy.lower()
        await call(http, "POST", CM, config(name))
        metadata = (await call(http, "DELETE", f"{CM}/{name}?propagationPolicy={policy}")).body["metadata"]
        assert metadata["finalizers"] == [finalizer]
        assert "deletionTimestamp" in metadata
        await call(http, "DELETE", f"{CM}/{name}", {"propagationPolicy": "Background"})
        assert (await call(http, "GET", f"{CM}/{name}")).code == 404


async def test_kinds_that_may_be_created_by_an_update(http: aiohttp.ClientSession) -> None:
    base = "/api/v1/namespaces/default"
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"}}
    assert (await call(http, "PUT", f"{base}/endpoints/e", endpoints)).code == 201
    assert (await call(http, "PUT", f"{base}/endpoints/e", endpoints)).code == 200
    assert (await call(http, "PUT", f"{CM}/none", config("none"))).code == 404


async def test_a_collection_is_deleted_by_its_selectors(http: aiohttp.ClientSession) -> None:
    for name in ("a", "b", "c"):
        await call(http, "POST", CM, config(name, labels={"n": name}))
    answer = await call(http, "DELETE", f"{CM}?labelSelector=n+in+(a,b)&fieldSelector=metadata.name!=b")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["a"]
    left = (await call(http, "GET", CM)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["b", "c"]
