"""Objects over plain HTTP: what kubectl does not show."""

from __future__ import annotations

import io
from typing import Any

import aiohttp
import yaml

from harness.api_requests import CM, PODS, TABLE, config, fails, make, pod


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
