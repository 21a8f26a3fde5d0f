"""What a DELETE does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from podhost.api.deletion import (
    FOREGROUND,
    ORPHAN,
    AlreadyDeleting,
    DeleteOptions,
    MarkDeleted,
    RemoveNow,
    compute_deletion,
    compute_finalizers,
    is_released,
)

NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)


def pod(**metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "a", "generation": 1, **metadata},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 20},
        "status": {"phase": "Running"},
    }


def test_running_pod_is_marked_with_its_grace_period() -> None:
    decision = compute_deletion("pods", pod(), DeleteOptions(), NOW)
    assert isinstance(decision, MarkDeleted)
    metadata = decision.object["metadata"]
    assert metadata["deletionTimestamp"] == "2026-11-23T16:00:20Z"
    assert (metadata["deletionGracePeriodSeconds"], metadata["generation"]) == (20, 2)


def test_grace_period_of_the_request_wins() -> None:
    decision = compute_deletion("pods", pod(), DeleteOptions(grace_period_s=5), NOW)
    assert isinstance(decision, MarkDeleted)
    assert decision.object["metadata"]["deletionGracePeriodSeconds"] == 5


@pytest.mark.parametrize(
    "change",
    [{"spec": {}}, {"status": {"phase": "Succeeded"}}, {"status": {"phase": "Failed"}}],
    ids=["not bound", "succeeded", "failed"],
)
def test_pod_that_no_kubelet_runs_goes_at_once(change: dict[str, Any]) -> None:
    assert compute_deletion("pods", {**pod(), **change}, DeleteOptions(), NOW) == RemoveNow()


def test_forced_deletion_goes_at_once() -> None:
    assert compute_deletion("pods", pod(), DeleteOptions(grace_period_s=0), NOW) == RemoveNow()


DELETING = {"deletionTimestamp": "2026-11-23T16:00:20Z", "deletionGracePeriodSeconds": 20}


@pytest.mark.parametrize("grace_s", [None, 20, 60])
def test_second_deletion_cannot_lengthen_the_grace(grace_s: int | None) -> None:
    options = DeleteOptions(grace_period_s=grace_s)
    assert compute_deletion("pods", pod(**DELETING), options, NOW) == AlreadyDeleting()


def test_second_deletion_shortens_the_grace() -> None:
    decision = compute_deletion("pods", pod(**DELETING), DeleteOptions(grace_period_s=3), NOW)
    assert isinstance(decision, MarkDeleted)
    metadata = decision.object["metadata"]
    assert (metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"]) == ("2026-11-23T16:00:03Z", 3)


def test_second_deletion_with_no_grace_removes() -> None:
    assert compute_deletion("pods", pod(**DELETING), DeleteOptions(grace_period_s=0), NOW) == RemoveNow()


def test_finalizers_hold_an_object() -> None:
    obj = {"metadata": {"name": "a", "finalizers": ["x/y"]}}
    decision = compute_deletion("configmaps", obj, DeleteOptions(), NOW)
    assert isinstance(decision, MarkDeleted)
    assert decision.object["metadata"]["deletionGracePeriodSeconds"] == 0
    assert not is_released("configmaps", decision.object)
    released = {"metadata": {**decision.object["metadata"], "finalizers": []}}
    assert is_released("configmaps", released)


def test_other_kinds_go_at_once() -> None:
    obj = {"metadata": {"name": "a"}}
    assert compute_deletion("configmaps", obj, DeleteOptions(grace_period_s=30), NOW) == RemoveNow()


def test_namespace_becomes_terminating_and_waits_for_its_finalizer() -> None:
    namespace = {"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    decision = compute_deletion("namespaces", namespace, DeleteOptions(), NOW)
    assert isinstance(decision, MarkDeleted)
    assert decision.object["status"] == {"phase": "Terminating"}
    assert not is_released("namespaces", decision.object)
    assert is_released("namespaces", {**decision.object, "spec": {"finalizers": []}})


def test_pod_in_its_grace_period_is_not_released_by_an_update() -> None:
    assert not is_released("pods", pod(**DELETING))


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        (["a/b"], {}, ["a/b"]),
        (["a/b"], {"propagation_policy": "Foreground"}, ["a/b", FOREGROUND]),
        (["a/b"], {"propagation_policy": "Orphan"}, ["a/b", ORPHAN]),
        ([ORPHAN], {"propagation_policy": "Background"}, []),
        ([ORPHAN], {"propagation_policy": "Foreground"}, [FOREGROUND]),
        ([FOREGROUND], {}, [FOREGROUND]),
        ([ORPHAN, FOREGROUND], {}, [ORPHAN]),
        ([], {"orphan_dependents": True}, [ORPHAN]),
        ([FOREGROUND], {"orphan_dependents": False}, []),
    ],
)
def test_propagation_is_a_finalizer(before: list[str], options: dict[str, Any], after: list[str]) -> None:
    assert compute_finalizers(before, DeleteOptions(**options)) == after


def test_a_waiting_object_follows_a_new_policy() -> None:
    metadata = {"name": "a", "deletionTimestamp": "t", "deletionGracePeriodSeconds": 0, "finalizers": [FOREGROUND]}
    orphaning = compute_deletion("configmaps", {"metadata": metadata}, DeleteOptions(propagation_policy="Orphan"), NOW)
    assert orphaning == MarkDeleted({"metadata": {**metadata, "finalizers": [ORPHAN]}})
    background = DeleteOptions(propagation_policy="Background")
    assert compute_deletion("configmaps", {"metadata": metadata}, background, NOW) == RemoveNow()
