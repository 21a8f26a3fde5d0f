"""Events: correlation and expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit import failpoint
from podhost.aiokit.clock import FakeClock
from podhost.store import EventExpiry, EventRecorder, ObjectKey, Store

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "ns", "uid": "u1", "resourceVersion": "5"},
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    opened = Store(tmp_path / "db", clock)
    yield opened
    opened.close()


@pytest.fixture
def recorder(store: Store, clock: FakeClock) -> EventRecorder:
    return EventRecorder(store, clock, "kubelet", "node1")


def events(store: Store) -> list[dict[str, Any]]:
    return store.list("events")[0]


def test_two_events_of_one_object_at_the_same_time_have_names_of_their_own(
    store: Store, recorder: EventRecorder, clock: FakeClock
) -> None:
    other = EventRecorder(store, clock, "proxy", "node1")
    recorder.event(POD, "Normal", "Created", "Container created")
    recorder.event(POD, "Normal", "Started", "Container started")
    other.event(POD, "Normal", "Seen", "by another component")
    names = [event["metadata"]["name"] for event in events(store)]
    assert len(set(names)) == 3
    assert all(int(name.removeprefix("web."), 16) >= clock.now_ns() for name in names)


def test_event_tells_of_what_where_and_who(store: Store, recorder: EventRecorder) -> None:
    recorder.event(POD, "Normal", "Pulled", "image is here", field_path="spec.containers{c}")
    (event,) = events(store)
    assert event["metadata"]["namespace"] == "ns"
    assert event["metadata"]["name"].startswith("web.")
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "ns",
        "name": "web",
        "uid": "u1",
        "apiVersion": "v1",
        "resourceVersion": "5",
        "fieldPath": "spec.containers{c}",
    }
    assert (event["count"], event["reason"], event["type"]) == (1, "Pulled", "Normal")
    assert event["source"] == {"component": "kubelet", "host": "node1"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-11-23T16:00:00Z"


def test_same_event_again_is_counted(store: Store, recorder: EventRecorder, clock: FakeClock) -> None:
    recorder.event(POD, "Warning", "BackOff", "again")
    clock.advance(60)
    newer = {**POD, "metadata": {**POD["metadata"], "resourceVersion": "9"}}
    recorder.event(newer, "Warning", "BackOff", "again")
    (event,) = events(store)
    assert event["count"] == 2
    assert event["firstTimestamp"] == "2026-11-23T16:00:00Z"
    assert event["lastTimestamp"] == "2026-11-23T16:01:00Z"


def test_event_that_was_deleted_is_made_anew(store: Store, recorder: EventRecorder, clock: FakeClock) -> None:
    recorder.event(POD, "Normal", "Started", "x")
    store.delete(ObjectKey("events", "ns", events(store)[0]["metadata"]["name"]))
    clock.advance(1)
    recorder.event(POD, "Normal", "Started", "x")
    assert [event["count"] for event in events(store)] == [1]


def test_many_similar_events_are_combined(store: Store, recorder: EventRecorder, clock: FakeClock) -> None:
    for number in range(14):
        clock.advance(1)
        recorder.event(POD, "Warning", "Unhealthy", f"try {number}")
    found = events(store)
    assert len(found) == 11
    (combined,) = [event for event in found if event["message"].startswith("(combined")]
    assert combined["message"] == "(combined from similar events): try 13"
    assert combined["count"] == 4


def test_recorder_never_raises(store: Store, recorder: EventRecorder, caplog: pytest.LogCaptureFixture) -> None:
    failpoint.set("store.write", "error:ENOSPC")
    try:
        recorder.event(POD, "Normal", "Started", "x")
    finally:
        failpoint.clear()
    recorder.event({}, "Normal", "Started", "x")
    assert caplog.text.count("cannot record event Started") == 2
    assert events(store) == []


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_events_expire_an_hour_after_their_last_write(
    store: Store, recorder: EventRecorder, clock: FakeClock
) -> None:
    expiry = EventExpiry(store, clock)
    expiry.start()
    recorder.event(POD, "Normal", "A", "a")
    await asyncio.sleep(1800)
    recorder.event(POD, "Normal", "B", "b")
    await asyncio.sleep(1700)
    recorder.event(POD, "Normal", "A", "a")
    await asyncio.sleep(1899)
    assert [event["reason"] for event in events(store)] == ["A", "B"]
    await asyncio.sleep(62)  # a minute more at most, as on kube-apiserver
    assert [event["reason"] for event in events(store)] == ["A"]
    await asyncio.sleep(1638)
    assert len(events(store)) == 1
    await asyncio.sleep(62)
    assert events(store) == []
    expiry.stop()


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_events_of_an_earlier_run_expire_too(store: Store, recorder: EventRecorder, clock: FakeClock) -> None:
    recorder.event(POD, "Normal", "A", "a")
    clock.advance(3000)
    expiry = EventExpiry(store, clock)
    expiry.start()
    await asyncio.sleep(599)
    assert len(events(store)) == 1
    await asyncio.sleep(62)
    assert events(store) == []
    expiry.stop()


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_many_events_of_many_minutes_go_in_their_turn(
    store: Store, recorder: EventRecorder, clock: FakeClock
) -> None:
    expiry = EventExpiry(store, clock)
    expiry.start()
    for minute in range(3):
        for number in range(150):
            recorder.event(POD, "Normal", f"Reason{minute}-{number}", "text")
        await asyncio.sleep(60)
    await asyncio.sleep(3600 - 180 + 59)
    assert len(events(store)) == 450
    for left in (300, 150, 0):
        await asyncio.sleep(2)
        assert len(events(store)) == left
        await asyncio.sleep(58)
    assert not expiry._marks
    recorder.event(POD, "Normal", "Again", "text")
    await asyncio.sleep(3662)
    assert events(store) == []
    expiry.stop()


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_what_could_not_be_deleted_is_tried_again(
    store: Store, recorder: EventRecorder, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    expiry = EventExpiry(store, clock)
    expiry.start()
    recorder.event(POD, "Normal", "A", "a")
    failpoint.set("store.write", "error:EIO")
    try:
        await asyncio.sleep(3661)
    finally:
        failpoint.clear()
    assert "cannot expire events: " in caplog.text
    assert len(events(store)) == 1
    await asyncio.sleep(60)
    assert events(store) == []
    expiry.stop()


def test_nothing_is_remembered_of_a_pod_that_is_gone(store: Store, recorder: EventRecorder) -> None:
    store.create(ObjectKey("pods", "ns", "web"), POD)
    recorder.event(POD, "Normal", "Pulled", "image is here", field_path="spec.containers{c}")
    recorder.event({**POD, "metadata": {**POD["metadata"], "uid": "another"}}, "Normal", "Pulled", "image is here")
    store.delete(ObjectKey("pods", "ns", "web"))
    assert recorder.remembered == 1


async def test_the_oldest_events_go_when_there_are_very_many(
    store: Store, recorder: EventRecorder, clock: FakeClock
) -> None:
    expiry = EventExpiry(store, clock, limit=3)
    expiry.start()
    for number in range(6):
        recorder.event(POD, "Normal", f"Reason{number}", "text")
    await asyncio.sleep(0.01)
    assert [event["reason"] for event in events(store)] == ["Reason3", "Reason4", "Reason5"]
    expiry.stop()
