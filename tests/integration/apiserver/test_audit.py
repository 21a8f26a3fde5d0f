"""The audit log: who asked for what and what came of it, and nothing that is secret."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

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
        "user": {"username": "podhost:socket", "groups": ["system:authenticated", "system:masters"]},
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
