"""The two forms of an Event: ``v1``, which is stored, and ``events.k8s.io/v1``."""

from __future__ import annotations

from collections.abc import Mapping

from podhost.api.objects import Object

_V1_NAMES: Mapping[str, str] = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Names in ``events.k8s.io/v1`` of the fields that have another one there."""
_CORE_NAMES: Mapping[str, str] = {new: old for old, new in _V1_NAMES.items()}
_EMPTY_SERIES: Object = {"count": 0, "lastObservedTime": None}
"""What ``events.k8s.io/v1`` always writes of a series; the stored form leaves out a count of zero."""
_OMITTED_WHEN_EMPTY = ("reportingController", "reportingInstance")


def default_event(event: Object) -> None:
    """Go writes these also when nobody has set them."""
    event.setdefault("involvedObject", {})
    event.setdefault("source", {})
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(name, None)
    for name in ("reportingComponent", "reportingInstance"):
        event.setdefault(name, "")
    if event.get("series") is not None:
        event["series"] = {"lastObservedTime": None} | event["series"]


def default_event_v1(event: Object) -> None:
    """As :func:`default_event`, by the names of the view."""
    event.setdefault("regarding", {})
    event.setdefault("deprecatedSource", {})
    for name in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"):
        event.setdefault(name, None)
    if event.get("series") is not None:
        event["series"] = _EMPTY_SERIES | event["series"]


def to_events_v1(event: Object) -> Object:
    """The stored event as ``events.k8s.io/v1`` shows it.  Shares what it does not rename."""
    shown = {_V1_NAMES.get(name, name): value for name, value in event.items()}
    for name in _OMITTED_WHEN_EMPTY:
        if not shown.get(name):
            shown.pop(name, None)
    if shown.get("series") is not None:
        shown["series"] = _EMPTY_SERIES | shown["series"]
    return shown | {"apiVersion": "events.k8s.io/v1"}


def from_events_v1(event: Object) -> Object:
    """What is stored of an event that was written as ``events.k8s.io/v1``."""
    stored = {_CORE_NAMES.get(name, name): value for name, value in event.items()} | {"apiVersion": "v1"}
    default_event(stored)
    return stored
