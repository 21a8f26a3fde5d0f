"""Watches as plain HTTP: where they begin, what they send, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from harness.api_requests import CM, TABLE, Watcher, config, fails, make, watch


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


async def test_objects_of_a_version_to_come_cannot_be_watched(api: Any, http: aiohttp.ClientSession) -> None:
    wanted = api.store.current_rv() + 5
    query = f"resourceVersion={wanted}&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=1"
    async with watch(http, CM, query) as response:
        kind, status = await Watcher(response).next()
        assert (response.status, kind, await response.content.read()) == (200, "ERROR", b"")
    assert (status["code"], status["reason"]) == (504, "Timeout")
    assert status["message"] == f"Timeout: Too large resource version: {wanted}, current: {wanted - 5}"
    assert status["details"]["retryAfterSeconds"] == 1
    assert status["details"]["causes"] == [
        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    ]
