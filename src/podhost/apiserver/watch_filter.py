"""Which events a watch with selectors sees: an object that starts to match is ADDED, one that stops is DELETED."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from podhost.store import WatchEvent

Obj = dict[str, Any]
Matches = Callable[[Obj], bool]
SeenEvent = tuple[Literal["ADDED", "MODIFIED", "DELETED"], Obj]


def filter_event(event: WatchEvent, matches: Matches) -> SeenEvent | None:
    """The event as the client is to see it, or ``None``."""
    before = event.previous is not None and matches(event.previous)
    if event.type == "DELETED":
        return ("DELETED", event.object) if before else None
    after = matches(event.object)
    if after:
        return ("MODIFIED" if before else "ADDED", event.object)
    if not before or event.previous is None:
        return None
    return ("DELETED", _with_version_of(event.previous, event.object))


def _with_version_of(obj: Obj, newer: Obj) -> Obj:
    """The state that the client knew, with the version at which it left the selection."""
    version = newer["metadata"]["resourceVersion"]
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}
