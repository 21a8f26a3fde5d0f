"""Which changes of a pod's object its worker takes notice of."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podhost.api import models
from podhost.kubelet.pod_changes import is_another_pod, read_gates, read_start_time_ns

POD: dict[str, Any] = {
    "metadata": {"name": "web", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c"}], "readinessGates": [{"conditionType": "example.com/x"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "example.com/x", "status": "False"}]},
}


def with_meta(**fields: Any) -> dict[str, Any]:
    return {**POD, "metadata": {**POD["metadata"], **fields}}


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        (POD, False),
        ({**POD, "status": {"phase": "Running"}}, False),
        (with_meta(resourceVersion="2", managedFields=[{}]), False),
        (with_meta(labels={}), True),
        (with_meta(annotations={"a": "b"}), True),
        (with_meta(deletionTimestamp="2026-01-01T00:00:00Z"), True),
        (with_meta(deletionGracePeriodSeconds=1), True),
        (with_meta(finalizers=["x"]), True),
        (with_meta(uid="v"), True),
        ({**POD, "spec": {"containers": []}}, True),
    ],
)
def test_status_and_bookkeeping_do_not_matter(changed: dict[str, Any], matters: bool) -> None:
    assert is_another_pod(POD, changed) is matters


def test_gates_are_the_conditions_that_the_pod_names() -> None:
    assert read_gates(msgspec.convert(POD, models.Pod), POD) == [("example.com/x", "False")]


@pytest.mark.parametrize(
    ("status", "at_ns"),
    [({}, None), ({"startTime": "nonsense"}, None), ({"startTime": "1970-01-01T00:00:02Z"}, 2_000_000_000)],
)
def test_start_time_is_read_if_it_can_be(status: dict[str, Any], at_ns: int | None) -> None:
    assert read_start_time_ns(status) == at_ns
