"""The audit log: who asked for what and what came of it, and nothing that is secret."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from podhost.apiserver.audit_policy import parse_policy

SECRETS = "/api/v1/namespaces/default/secrets"
PODS = "/api/v1/namespaces/default/pods"


class Ledger:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def record(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def of(self, **wanted: Any) -> list[dict[str, Any]]:
        return [event for event in self.events if all(event.get(key) == value for key, value in wanted.items())]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def api_settings(ledger: Ledger) -> dict[str, Any]:
    return {"audit": ledger}


async def test_a_write_is_reported_with_who_what_and_how_it_ended(
    api: Any, http: aiohttp.ClientSession, ledger: Ledger
) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "hush-hush"}}
    async with http.post(SECRETS, json=secret, headers={"User-Agent": "tool/1"}) as response:
        assert response.status == 201
        audit_id = response.headers["Audit-Id"]
    received, complete = ledger.of(auditID=audit_id)
    assert complete == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": "ResponseComplete",
        "requestURI": SECRETS,
        "verb": "create",
        "user": {"username": "podhost:socket", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": [],
        "userAgent": "tool/1",
        "objectRef": {"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": received["requestReceivedTimestamp"],
        "stageTimestamp": complete["stageTimestamp"],
    }
    assert received["stage"] == "RequestReceived"
    assert received["stageTimestamp"] == received["requestReceivedTimestamp"] <= complete["stageTimestamp"]
    assert "hush" not in json.dumps(ledger.events)


async def test_those_who_may_not_and_those_who_are_nobody_are_reported(api: Any, ledger: Ledger) -> None:
    url = f"https://localhost:{api.port}"
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=False)) as session:
        for token, code in (("carol-token", 403), ("bad-token", 401), ("", 401)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.get(f"{SECRETS}/s", headers=headers) as response:
                assert response.status == code
    forbidden = ledger.of(stage="ResponseComplete")[0]
    assert forbidden["user"] == {"username": "carol", "groups": ["devs", "system:authenticated"], "uid": "9"}
    assert forbidden["sourceIPs"] in (["127.0.0.1"], ["::1"])
    assert forbidden["objectRef"]["name"] == "s"
    status = forbidden["responseStatus"]
    assert (status["code"], status["reason"], status["status"]) == (403, "Forbidden", "Failure")
    stranger = ledger.of(stage="ResponseStarted")[0]
    assert (stranger["user"], stranger["responseStatus"]["code"]) == ({}, 401)
    assert ledger.events[-1]["responseStatus"]["code"] == 401
    assert "token" not in json.dumps(ledger.events)


async def test_a_path_that_is_not_there_is_reported_with_who_asked(http: aiohttp.ClientSession, ledger: Ledger) -> None:
    async with http.get("/apis/none/v1/x/y/z") as response:
        assert response.status == 404
    last = ledger.events[-1]
    assert (last["user"]["username"], last["responseStatus"]["code"]) == ("podhost:socket", 404)


async def test_a_watch_is_reported_when_it_begins_and_when_its_client_has_gone(
    http: aiohttp.ClientSession, ledger: Ledger
) -> None:
    async with http.get(f"{PODS}?watch=1", headers={"Impersonate-User": "eve", "Impersonate-Group": "system:masters"}):
        assert [event["stage"] for event in ledger.of(verb="watch")] == ["RequestReceived", "ResponseStarted"]
    async with asyncio.timeout(20):
        while len(ledger.of(verb="watch")) < 3:
            await asyncio.sleep(0)
    last = ledger.of(verb="watch")[-1]
    assert (last["stage"], last["responseStatus"]["code"]) == ("ResponseComplete", 200)
    assert last["impersonatedUser"]["username"] == "eve"
    assert last["user"]["username"] == "podhost:socket"


POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse, verbs: [update, patch], omitManagedFields: true}
- {level: Request, namespaces: [default]}
"""


class TestPolicy:
    """Less of some requests, more of others."""

    @pytest.fixture
    def api_settings(self, ledger: Ledger) -> dict[str, Any]:
        return {"audit": ledger, "audit_policy": parse_policy(POLICY)}

    async def test_requests_are_told_as_far_as_the_policy_says(
        self, http: aiohttp.ClientSession, ledger: Ledger
    ) -> None:
        configs = "/api/v1/namespaces/default/configmaps"
        body = {"metadata": {"name": "s"}, "stringData": {"password": "hush-hush"}}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}
        for path, sent in ((SECRETS, body), (configs, config)):
            async with http.post(path, json=sent) as response:
                assert response.status == 201
        changed = config | {"data": {"k": "w"}}
        async with http.put(f"{configs}/c", json=changed) as response:
            assert response.status == 200
        async with http.get(f"{configs}/c") as response, http.get("/api/v1/namespaces") as listed:
            assert (response.status, listed.status) == (200, 200)
        secret, created, updated = ledger.events
        assert [event["stage"] for event in ledger.events] == ["ResponseComplete"] * 3
        assert [event["level"] for event in ledger.events] == ["Metadata", "Request", "RequestResponse"]
        assert not {"requestObject", "responseObject"} & set(secret)
        assert created["requestObject"] == config
        assert "responseObject" not in created
        assert updated["requestObject"] == changed
        assert updated["responseObject"]["data"] == {"k": "w"}
        assert "managedFields" not in updated["responseObject"]["metadata"]
        assert "hush" not in json.dumps(ledger.events)
