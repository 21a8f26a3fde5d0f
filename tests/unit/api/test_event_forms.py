"""The two forms of an Event, and the rules of each."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from podhost.api.event_forms import from_events_v1, to_events_v1
from podhost.api.events import EVENT, EVENT_V1
from podhost.api.kind import validate, validate_update

NEW: dict[str, Any] = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "ns"},
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "example.com/robot",
    "reportingInstance": "robot-1",
    "action": "Moving",
    "reason": "Moved",
    "regarding": {"kind": "Pod", "namespace": "ns", "name": "p"},
    "note": "moved it",
    "type": "Normal",
}
OLD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "ns", "uid": "u", "resourceVersion": "5"},
    "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "p"},
    "reason": "Pulled",
    "message": "text",
    "source": {"component": "kubelet", "host": "n"},
    "firstTimestamp": "2026-01-01T00:00:00Z",
    "lastTimestamp": "2026-01-01T00:00:09Z",
    "count": 3,
    "type": "Normal",
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}
LONG = "x" * 129


def test_an_old_event_is_shown_by_its_new_names_and_comes_back_as_it_was() -> None:
    before = copy.deepcopy(OLD)
    assert to_events_v1(OLD) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": OLD["metadata"],
        "regarding": OLD["involvedObject"],
        "reason": "Pulled",
        "note": "text",
        "deprecatedSource": OLD["source"],
        "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedLastTimestamp": "2026-01-01T00:00:09Z",
        "deprecatedCount": 3,
        "type": "Normal",
        "eventTime": None,
    }
    assert from_events_v1(to_events_v1(OLD)) == OLD == before


def test_a_new_event_is_stored_with_everything_that_go_writes() -> None:
    stored = from_events_v1(NEW)
    assert {name: stored[name] for name in ("involvedObject", "message", "reportingComponent")} == {
        "involvedObject": NEW["regarding"],
        "message": "moved it",
        "reportingComponent": "example.com/robot",
    }
    assert (stored["source"], stored["firstTimestamp"], stored["lastTimestamp"]) == ({}, None, None)


def test_a_series_that_says_nothing_is_written_as_go_writes_it() -> None:
    event = OLD | {"series": {}}
    EVENT.default(event)
    assert event["series"] == {"lastObservedTime": None}
    assert to_events_v1(event)["series"] == {"count": 0, "lastObservedTime": None}
    assert to_events_v1(OLD | {"series": {}})["series"] == {"count": 0, "lastObservedTime": None}
    view = NEW | {"series": {"count": 2}}
    EVENT_V1.default(view)
    assert view["series"] == {"count": 2, "lastObservedTime": None}
    assert "series" not in to_events_v1(OLD)


def test_each_form_is_selected_by_its_own_names() -> None:
    assert EVENT.selectable_fields(OLD)["involvedObject.name"] == "p"
    fields = EVENT_V1.selectable_fields(to_events_v1(OLD))
    assert (fields["regarding.name"], fields["reason"], fields["source"]) == ("p", "Pulled", "kubelet")
    assert "involvedObject.name" not in fields


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, []),
        ({"eventTime": None}, ["eventTime: Required value"]),
        ({"type": "Odd"}, ['type: Invalid value: "": has invalid value: Odd']),
        ({"reportingController": ""}, [
            "reportingController: Required value",
            'reportingController: Invalid value: "": name part must be non-empty',
        ]),
        ({"reportingInstance": LONG}, ['reportingInstance: Invalid value: "": can have at most 128 characters']),
        ({"action": "", "reason": LONG}, [
            "action: Required value",
            'reason: Invalid value: "": can have at most 128 characters',
        ]),
        ({"note": LONG * 8}, ['message: Invalid value: "": can have at most 1024 characters']),
        ({"deprecatedCount": 1, "deprecatedSource": {"host": "h"}}, [
            'count: Invalid value: "": needs to be unset',
            'source: Invalid value: "": needs to be unset',
        ]),
        ({"deprecatedFirstTimestamp": "2026-01-01T00:00:00Z"}, [
            'firstTimestamp: Invalid value: "": needs to be unset',
        ]),
        ({"series": {"count": 1}}, [
            'series.count: Invalid value: "": should be at least 2',
            "series.lastObservedTime: Required value",
        ]),
        ({"regarding": {}}, ['involvedObject.namespace: Invalid value: "": does not match event.namespace']),
    ],
)  # fmt: skip
def test_an_event_in_the_new_style_must_say_everything(change: dict[str, Any], wanted: list[str]) -> None:
    messages = [error.message for error in validate(EVENT_V1, NEW | change)]
    for expected in wanted:
        assert any(message.startswith(expected) for message in messages), messages
    assert len(messages) >= len(wanted)
    assert bool(messages) == bool(wanted)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"reason": "", "type": ""}, True),
        ({"involvedObject": {"namespace": "other"}}, False),
        ({"eventTime": "2026-01-01T00:00:00.000000Z"}, False),
    ],
)
def test_an_old_event_may_leave_out_nearly_everything(change: dict[str, Any], valid: bool) -> None:
    assert (validate(EVENT, OLD | change) == []) is valid


def test_only_the_series_of_a_new_event_goes_on() -> None:
    old = NEW | {"metadata": {**NEW["metadata"], "resourceVersion": "4", "uid": "u"}}
    going_on = old | {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}
    assert validate_update(EVENT_V1, going_on, old) == []
    assert [error.field for error in validate_update(EVENT_V1, going_on | {"note": "b", "reason": "c"}, old)] == [
        "reason",
        "message",
    ]
    assert [error.field for error in validate_update(EVENT_V1, old | {"series": {"count": 1}}, old)] == [
        "series.count",
        "series.lastObservedTime",
    ]
