"""Heartbeats that nobody writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from podhost.api.heartbeats import with_heartbeats, with_renew_time

WRITTEN = datetime(2026, 11, 25, 12, 0, 0, 250_000, tzinfo=UTC)


def make_lease(**changes: Any) -> dict[str, Any]:
    metadata = {"name": "n1", "namespace": "kube-node-lease"}
    spec = {"holderIdentity": "n1", "renewTime": "2026-11-25T12:00:00.250000Z"}
    lease = {"metadata": metadata, "spec": spec}
    for path, value in changes.items():
        part, name = path.split("_")
        lease[part][name] = value
    return lease


@pytest.mark.parametrize(
    ("seconds", "renewed"),
    [
        (-5, "12:00:00.250000"),
        (0, "12:00:00.250000"),
        (9.9, "12:00:00.250000"),
        (10, "12:00:10.250000"),
        (3_609, "13:00:00.250000"),
    ],
)
def test_the_lease_of_the_node_is_renewed_every_ten_seconds(seconds: float, renewed: str) -> None:
    stored = make_lease()
    shown = with_renew_time(stored, "n1", WRITTEN + timedelta(seconds=seconds))
    assert shown["spec"] == {"holderIdentity": "n1", "renewTime": f"2026-11-25T{renewed}Z"}
    assert stored == make_lease(), "what is stored is shared"


@pytest.mark.parametrize(
    "other",
    [
        {"metadata_name": "n2"},
        {"metadata_namespace": "default"},
        {"spec_holderIdentity": "somebody"},
        {"spec_renewTime": None},
        {"spec_renewTime": "nonsense"},
    ],
)
def test_other_leases_are_left_alone(other: dict[str, Any]) -> None:
    lease = make_lease(**other)
    assert with_renew_time(lease, "n1", WRITTEN + timedelta(hours=1)) is lease


def test_conditions_of_the_node_beat_every_five_minutes() -> None:
    ready = {"type": "Ready", "lastHeartbeatTime": "2026-11-25T12:00:00Z", "lastTransitionTime": "2026-11-25T12:00:00Z"}
    foreign = {"type": "Foreign"}
    node = {"metadata": {"name": "n1"}, "status": {"phase": "x", "conditions": [ready, foreign]}}
    now = WRITTEN + timedelta(minutes=14)
    status = with_heartbeats(node, "n1", now)["status"]
    assert status == {
        "phase": "x",
        "conditions": [ready | {"lastHeartbeatTime": "2026-11-25T12:10:00Z"}, foreign],
    }
    assert with_heartbeats(node, "n2", now) is node
