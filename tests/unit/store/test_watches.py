"""Watches of the store: order, replay, progress, slow readers; and subscribers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness.stores import KEY, drain, pod, reopen
from podhost.aiokit.clock import FakeClock
from podhost.store import GoneError, ObjectKey, Store, WatchEvent


async def test_watch_sees_changes_in_order_with_what_was_before(store: Store) -> None:
    start = store.current_rv()
    store.create(KEY, pod(spec=1))
    store.update(KEY, pod(spec=2))
    store.delete(KEY)
    events = await drain(store, "pods", start)
    assert [(e.type, e.object["spec"], e.previous and e.previous["spec"]) for e in events] == [
        ("ADDED", 1, None),
        ("MODIFIED", 2, 1),
        ("DELETED", 2, 2),
    ]
    assert [e.rv for e in events] == [start + 1, start + 2, start + 3]


async def test_watch_resumes_after_a_restart(store: Store, path: Path) -> None:
    store.create(KEY, pod(spec=1))
    seen = store.current_rv()
    store.update(KEY, pod(spec=2))
    again = reopen(store, path)
    events = await drain(again, "pods", seen)
    assert [(e.type, e.object["spec"]) for e in events] == [("MODIFIED", 2)]
    assert events[0].previous is not None
    assert events[0].previous["spec"] == 1
    again.close()


async def test_watch_of_a_namespace_ignores_the_others(store: Store) -> None:
    start = store.current_rv()
    store.create(ObjectKey("pods", "other", "b"), pod("b", "other"))
    store.create(KEY, pod())
    events = await drain(store, "pods", start, "ns")
    assert [e.object["metadata"]["name"] for e in events] == ["a"]


async def test_replay_of_a_long_history_keeps_the_order_with_live_events(store: Store) -> None:
    start = store.current_rv()
    store.create(KEY, pod(spec=0))
    for number in range(1, 350):
        store.update(KEY, pod(spec=number))
    watch = store.watch("pods", None, start)
    seen = [(await anext(watch)).object["spec"]]
    store.update(KEY, pod(spec=350))
    while seen[-1] != 350:
        seen.append((await anext(watch)).object["spec"])
    assert seen == list(range(351))
    assert watch.idle
    watch.close()


async def test_compacted_history_is_gone_but_the_rest_knows_its_past(path: Path) -> None:
    store = Store(path, FakeClock(), history_limit=50)
    start = store.current_rv()
    store.create(KEY, pod(spec=0))
    for number in range(1, 200):
        store.update(KEY, pod(spec=number))
    with pytest.raises(GoneError, match="too old resource version"):
        store.watch("pods", None, start)
    oldest = int(sqlite3.connect(path).execute("SELECT value FROM meta WHERE key='compacted_rv'").fetchone()[0])
    events = await drain(store, "pods", oldest)
    assert 50 <= len(events) < 100
    assert all(e.previous and e.previous["spec"] == e.object["spec"] - 1 for e in events)
    store.close()


async def test_versions_that_were_never_given_out_are_gone(store: Store, path: Path) -> None:
    store.create(KEY, pod())
    last = store.current_rv()
    again = reopen(store, path)
    for unknown in (last + 1, again.current_rv() + 1):
        with pytest.raises(GoneError):
            again.watch("pods", None, unknown)
    again.watch("pods", None, last).close()
    again.close()


async def test_what_is_ready_comes_in_one_batch(store: Store) -> None:
    watch = store.watch("pods")
    for name in "abc":
        store.create(ObjectKey("pods", "ns", name), pod(name))
    assert [event.object["metadata"]["name"] for event in await watch.next_batch()] == ["a", "b", "c"]
    watch.close()
    assert await watch.next_batch() == []


async def test_slow_watcher_is_cut_off(path: Path) -> None:
    store = Store(path, FakeClock(), watch_capacity=3)
    watch = store.watch("pods")
    for number in range(5):
        store.create(ObjectKey("pods", "ns", f"p{number}"), pod(f"p{number}"))
    with pytest.raises(GoneError, match="too slow"):
        await anext(watch)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    store.close()


async def test_closed_watch_ends(store: Store) -> None:
    watch = store.watch("pods")
    watch.close()
    watch.close()
    assert [event async for event in watch] == []


async def test_watch_with_progress_learns_of_versions_of_other_resources(store: Store) -> None:
    watch = store.watch("pods", progress=True)
    while watch.idle:
        store.create(ObjectKey("nodes", "", f"n{store.current_rv()}"), pod(f"n{store.current_rv()}", ""))
    event = await anext(watch)
    assert (event.type, event.rv) == ("BOOKMARK", store.current_rv())
    watch.close()


def test_subscribers_hear_of_each_change_in_order_also_of_their_own(store: Store) -> None:
    heard: list[tuple[str, Any]] = []

    def react(event: WatchEvent) -> None:
        heard.append((event.type, event.object.get("spec")))
        if event.type == "ADDED":
            store.update(KEY, pod(spec="mine"))

    late: list[str] = []
    undo = store.subscribe("pods", react)
    store.subscribe("pods", lambda event: late.append(event.type))
    store.create(KEY, pod(spec="first"))
    assert heard == [("ADDED", "first"), ("MODIFIED", "mine")]
    assert late == ["ADDED", "MODIFIED"]
    undo()
    undo()
    store.delete(KEY)
    assert len(heard) == 2


def test_failing_subscriber_stops_neither_the_write_nor_the_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: WatchEvent) -> None:
        raise RuntimeError("broken")

    heard: list[str] = []
    store.subscribe("pods", fail)
    store.subscribe("pods", lambda event: heard.append(event.type))
    store.create(KEY, pod())
    assert heard == ["ADDED"]
    assert "broken" in caplog.text
