"""Selectors on watches."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.apiserver.watch_filter import filter_event
from podhost.store import WatchEvent


def obj(rv: int, app: str) -> dict[str, Any]:
    return {"metadata": {"name": "a", "resourceVersion": str(rv), "labels": {"app": app}}}


def is_web(candidate: dict[str, Any]) -> bool:
    return bool(candidate["metadata"]["labels"]["app"] == "web")


WEB, DB = "web", "db"


@pytest.mark.parametrize(
    ("kind", "before", "after", "seen"),
    [
        ("ADDED", None, WEB, "ADDED"),
        ("ADDED", None, DB, None),
        ("MODIFIED", WEB, WEB, "MODIFIED"),
        ("MODIFIED", DB, WEB, "ADDED"),
        ("MODIFIED", WEB, DB, "DELETED"),
        ("MODIFIED", DB, DB, None),
        ("DELETED", WEB, WEB, "DELETED"),
        ("DELETED", DB, DB, None),
    ],
)
def test_what_a_selecting_watch_sees(kind: Any, before: str | None, after: str, seen: str | None) -> None:
    previous = obj(1, before) if before else None
    result = filter_event(WatchEvent(kind, obj(2, after), previous, 2), is_web)
    assert (result[0] if result else None) == seen


def test_object_that_stops_matching_is_shown_as_it_was_with_the_new_version() -> None:
    result = filter_event(WatchEvent("MODIFIED", obj(2, DB), obj(1, WEB), 2), is_web)
    assert result is not None
    assert result[1]["metadata"] == {"name": "a", "resourceVersion": "2", "labels": {"app": "web"}}
