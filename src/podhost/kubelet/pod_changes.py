"""What of a pod's API object matters to its worker.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api import models
from podhost.api.time import parse_time

Document = Mapping[str, Any]

_STABLE = ("uid", "labels", "annotations", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers")
"""Metadata that a pass depends on."""


def is_another_pod(old: Document, new: Document) -> bool:
    """Whether more than the status has changed, and what belongs to it."""
    return old.get("spec") != new.get("spec") or any(
        old["metadata"].get(name) != new["metadata"].get(name) for name in _STABLE
    )


def read_gates(pod: models.Pod, document: Document) -> list[tuple[str, str]]:
    """What others have said about the pod's readiness."""
    names = {gate.condition_type for gate in pod.spec.readiness_gates}
    conditions = (document.get("status") or {}).get("conditions") or ()
    return [(c["type"], c.get("status", "")) for c in conditions if c.get("type") in names]


def read_start_time_ns(status: Document) -> int | None:
    """``startTime``, if there is one that can be read."""
    text = status.get("startTime")
    if not isinstance(text, str):
        return None
    try:
        return int(parse_time(text).timestamp() * 1_000_000_000)
    except ValueError:
        return None
