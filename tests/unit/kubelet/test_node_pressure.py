"""When the node is under pressure, and who is turned away: the kubelet's rules, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.kubelet.eviction_thresholds import (
    CONTAINER_DISK,
    DISK_PRESSURE,
    IMAGE_DISK,
    IMAGE_INODES,
    MEMORY,
    MEMORY_PRESSURE,
    NODE_DISK,
    NODE_INODES,
    PID_PRESSURE,
    PIDS,
    Amount,
    Observation,
    Observations,
    Threshold,
)
from podhost.kubelet.node_pressure import (
    DISK_TAINT,
    MEMORY_TAINT,
    PID_TAINT,
    PressureState,
    Reclaim,
    advance,
    build_taints,
    choose_reclaims,
    compute_wait_s,
    find_rejection,
)

HARD = Threshold(MEMORY, Amount("10"), min_reclaim=Amount("5"))
SOFT = Threshold(NODE_DISK, Amount("10"), 30.0)


def left(memory: int = 99, disk: int = 99) -> Observations:
    return {MEMORY: Observation(memory, 100), NODE_DISK: Observation(disk, 100)}


def run(*looks: tuple[float, Observations]) -> PressureState:
    """The state after these looks, with a transition period of 300 s."""
    state = PressureState()
    for at_s, seen in looks:
        state = advance(state, (HARD, SOFT), seen, at_s, 300.0)
    return state


def test_hard_threshold_is_due_at_once() -> None:
    state = run((0, left(memory=9)))
    assert state.due == (HARD,)
    assert state.conditions == {MEMORY_PRESSURE}


def test_soft_threshold_is_due_after_its_grace_period_and_the_condition_is_true_before() -> None:
    early = run((0, left(disk=9)), (29, left(disk=9)))
    assert early.due == ()
    assert early.conditions == {DISK_PRESSURE}
    assert run((0, left(disk=9)), (29, left(disk=9)), (30, left(disk=9))).due == (SOFT,)


def test_grace_period_begins_anew_after_a_break() -> None:
    broken = run((0, left(disk=9)), (20, left()), (25, left(disk=9)), (40, left(disk=9)))
    assert broken.due == ()
    assert run((25, left(disk=9)), (40, left(disk=9)), (55, left(disk=9))).due == (SOFT,)


def test_pods_go_until_the_minimum_is_reclaimed_too() -> None:
    assert run((0, left(memory=9)), (10, left(memory=14))).due == (HARD,)
    assert run((0, left(memory=9)), (10, left(memory=15))).due == ()
    # Where nothing has been low, the minimum does not count.
    assert run((0, left(memory=14))).due == ()


def test_condition_outlives_its_cause_by_the_transition_period() -> None:
    pressed = ((0.0, left(memory=9)), (100.0, left(memory=9)))
    assert run(*pressed, (399, left())).conditions == {MEMORY_PRESSURE}
    assert run(*pressed, (400, left())).conditions == frozenset()


@pytest.mark.parametrize(
    ("looks", "seen", "wait_s"),
    [
        ([(0, left())], left(), 60),
        ([(0, left(memory=19))], left(memory=19), 10),
        ([(0, left(memory=9))], left(memory=9), 10),
        ([(-9, left(memory=9)), (0, left())], left(), 10),
        ([(-25, left(disk=9)), (0, left(disk=9))], left(disk=9), 5),
        ([(-30, left(disk=9)), (0, left(disk=9))], left(disk=9), 10),
    ],
    ids=["plenty", "scarce", "pressure", "pressure was", "grace period ends soon", "grace period is over"],
)
def test_next_look_comes_the_sooner_the_less_there_is(
    looks: list[tuple[float, Observations]], seen: Observations, wait_s: float
) -> None:
    assert compute_wait_s(run(*looks), (HARD, SOFT), seen, 0.0, 60.0) == wait_s


def test_tests_can_look_more_often_still() -> None:
    assert compute_wait_s(run((0, left(memory=9))), (HARD, SOFT), left(memory=9), 0.0, 0.5) == 0.5


BOTH = (Reclaim.DEAD_CONTAINERS, Reclaim.UNUSED_IMAGES)


@pytest.mark.parametrize(
    ("signal", "together", "apart"),
    [
        (MEMORY, (), ()),
        (PIDS, (), ()),
        (NODE_DISK, BOTH, (Reclaim.DEAD_CONTAINERS,)),
        (NODE_INODES, BOTH, (Reclaim.DEAD_CONTAINERS,)),
        (CONTAINER_DISK, BOTH, (Reclaim.DEAD_CONTAINERS,)),
        (IMAGE_DISK, BOTH, (Reclaim.UNUSED_IMAGES,)),
        (IMAGE_INODES, BOTH, (Reclaim.UNUSED_IMAGES,)),
    ],
)
def test_node_first_gives_up_what_lies_on_the_full_disk(
    signal: str, together: tuple[Reclaim, ...], apart: tuple[Reclaim, ...]
) -> None:
    assert choose_reclaims(signal, has_image_fs=False) == together
    assert choose_reclaims(signal, has_image_fs=True) == apart


def pod(requests: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "a", "resources": {"requests": requests or {}}}], **spec}}


TOLERANT = {"key": MEMORY_TAINT, "operator": "Exists", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("given", "conditions", "text"),
    [
        (pod(), [], None),
        (pod(), [MEMORY_PRESSURE], "The node had condition: [MemoryPressure]. "),
        (pod({"cpu": "1m"}), [MEMORY_PRESSURE], None),
        (pod(tolerations=[TOLERANT]), [MEMORY_PRESSURE], None),
        (pod(tolerations=[{"operator": "Exists"}]), [MEMORY_PRESSURE], None),
        (pod(tolerations=[{**TOLERANT, "effect": "NoExecute"}]), [MEMORY_PRESSURE], "[MemoryPressure]. "),
        (pod({"cpu": "1m"}), [DISK_PRESSURE], "The node had condition: [DiskPressure]. "),
        (pod(tolerations=[TOLERANT]), [DISK_PRESSURE, MEMORY_PRESSURE], "[DiskPressure MemoryPressure]. "),
        (pod({"cpu": "1m"}), [PID_PRESSURE], "The node had condition: [PIDPressure]. "),
        (pod(priority=2_000_000_000), [DISK_PRESSURE], None),
        ({**pod(), "metadata": {"annotations": {"kubernetes.io/config.source": "file"}}}, [DISK_PRESSURE], None),
    ],
)  # fmt: skip
def test_pods_are_turned_away_under_pressure(given: dict[str, Any], conditions: list[str], text: str | None) -> None:
    found = find_rejection(given, conditions)
    assert found is None if text is None else found is not None and found.endswith(text)


def test_taints_follow_the_conditions_and_leave_those_of_others() -> None:
    own = {"key": "mine", "effect": "NoExecute"}
    tainted = build_taints([own], [DISK_PRESSURE], "t1")
    assert tainted == [own, {"key": DISK_TAINT, "effect": "NoSchedule", "timeAdded": "t1"}]
    assert build_taints(tainted, [DISK_PRESSURE], "t2") == tainted
    both = build_taints(tainted, [MEMORY_PRESSURE, DISK_PRESSURE], "t3")
    assert [each["key"] for each in both] == ["mine", DISK_TAINT, MEMORY_TAINT]
    assert build_taints(both, [], "t4") == [own]
    assert build_taints([], [PID_PRESSURE], "t5") == [{"key": PID_TAINT, "effect": "NoSchedule", "timeAdded": "t5"}]
