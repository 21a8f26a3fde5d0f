"""Who is evicted, when, and what is said about it: the kubelet's rules, as tables."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from podhost.kubelet.node_pressure import (
    DEFAULT_EVICTION_HARD,
    DISK,
    DISK_PRESSURE,
    DISK_TAINT,
    MEMORY,
    MEMORY_PRESSURE,
    MEMORY_TAINT,
    ContainerUse,
    Observation,
    PodUse,
    Threshold,
    build_taints,
    find_met,
    find_rejection,
    format_eviction,
    parse_thresholds,
    rank_pods,
    update_conditions,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEFAULT_EVICTION_HARD, (Threshold(MEMORY, 100 * MIB), Threshold(DISK, share=Fraction(1, 10)))),
        ("nodefs.available<1Gi", (Threshold(DISK, 1024 * MIB),)),
        ("memory.available<2.5%", (Threshold(MEMORY, share=Fraction(1, 40)),)),
        ("", ()),
        ("memory.available<0,nodefs.available<0%", ()),
    ],
)
def test_thresholds_are_read_as_the_kubelet_does(text: str, expected: tuple[Threshold, ...]) -> None:
    assert parse_thresholds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "pid.available<10%",
        "memory.available>1Gi",
        "memory.available<much",
        "memory.available<x%",
        "nodefs.available<100%",
        "nodefs.available<-1%",
        "memory.available<-1",
        "memory.available<1Mi,memory.available<2Mi",
    ],
)
def test_thresholds_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_thresholds(text)


def test_memory_is_looked_after_before_disk_and_the_threshold_itself_is_enough() -> None:
    thresholds = parse_thresholds("nodefs.available<10%,memory.available<100Mi")
    roomy = {MEMORY: Observation(100 * MIB, 1000 * MIB), DISK: Observation(10, 100)}
    assert find_met(thresholds, roomy) == []
    full = {MEMORY: Observation(100 * MIB - 1, 1000 * MIB), DISK: Observation(9, 100)}
    assert [each.signal for each in find_met(thresholds, full)] == [MEMORY, DISK]
    assert find_met(thresholds, {}) == []


def test_condition_outlives_its_cause_by_the_transition_period() -> None:
    met = [Threshold(DISK, 5)]
    last = update_conditions({}, met, 100.0, 300.0)
    assert last == {DISK_PRESSURE: 100.0}
    assert update_conditions(last, [], 399.0, 300.0) == last
    assert update_conditions(last, met, 399.0, 300.0) == {DISK_PRESSURE: 399.0}
    assert update_conditions(last, [], 400.0, 300.0) == {}


ORDER = [
    PodUse("not measured", 10_000, None, 0),
    PodUse("best effort, large", 0, 500, 0),
    PodUse("burstable, 100 over", 0, 400, 300),
    PodUse("best effort, small", 0, 50, 0),
    PodUse("important, over", 1000, 900, 0),
    PodUse("within its request, nearly", 0, 299, 300),
    PodUse("within its request, idle", 0, 1, 300),
    PodUse("important, within", 1000, 300, 300),
]


def test_pods_over_their_request_go_first_then_by_priority_then_by_what_is_over() -> None:
    assert rank_pods(reversed(ORDER)) == ORDER


def test_text_names_the_threshold_and_each_container_over_its_request() -> None:
    text = format_eviction(
        Threshold(MEMORY, 100 * MIB),
        Observation(97340 * 1024, 4096 * MIB),
        [
            ContainerUse("a", 120 * 1024, 0),
            ContainerUse("b", 64 * MIB, 64 * MIB),
            ContainerUse("c", 65 * MIB, 64 * MIB),
        ],
    )
    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 97340Ki. "
        "Container a was using 120Ki, request is 0, has larger consumption of memory. "
        "Container c was using 65Mi, request is 64Mi, has larger consumption of memory. "
    )


def test_part_of_a_disk_is_told_in_bytes() -> None:
    text = format_eviction(Threshold(DISK, share=Fraction(1, 10)), Observation(5 * MIB, 100 * MIB), [])
    assert text == "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 5Mi. "


def pod(requests: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "a", "resources": {"requests": requests or {}}}], **spec}}


TOLERANT = {"key": MEMORY_TAINT, "operator": "Exists", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("given", "conditions", "static", "text"),
    [
        (pod(), [], False, None),
        (pod(), [MEMORY_PRESSURE], False, "The node had condition: [MemoryPressure]. "),
        (pod({"cpu": "1m"}), [MEMORY_PRESSURE], False, None),
        (pod(tolerations=[TOLERANT]), [MEMORY_PRESSURE], False, None),
        (pod(tolerations=[{"operator": "Exists"}]), [MEMORY_PRESSURE], False, None),
        (pod(tolerations=[{**TOLERANT, "effect": "NoExecute"}]), [MEMORY_PRESSURE], False, "[MemoryPressure]. "),
        (pod({"cpu": "1m"}), [DISK_PRESSURE], False, "The node had condition: [DiskPressure]. "),
        (pod(tolerations=[TOLERANT]), [DISK_PRESSURE, MEMORY_PRESSURE], False, "[DiskPressure MemoryPressure]. "),
        (pod(priority=2_000_000_000), [DISK_PRESSURE], False, None),
        (pod(), [DISK_PRESSURE], True, None),
    ],
)  # fmt: skip
def test_pods_are_turned_away_under_pressure(
    given: dict[str, Any], conditions: list[str], static: bool, text: str | None
) -> None:
    found = find_rejection(given, conditions, is_static=static)
    assert found is None if text is None else found is not None and found.endswith(text)


def test_taints_follow_the_conditions_and_leave_those_of_others() -> None:
    own = {"key": "mine", "effect": "NoExecute"}
    tainted = build_taints([own], [DISK_PRESSURE], "t1")
    assert tainted == [own, {"key": DISK_TAINT, "effect": "NoSchedule", "timeAdded": "t1"}]
    assert build_taints(tainted, [DISK_PRESSURE], "t2") == tainted
    both = build_taints(tainted, [MEMORY_PRESSURE, DISK_PRESSURE], "t3")
    assert [each["key"] for each in both] == ["mine", DISK_TAINT, MEMORY_TAINT]
    assert build_taints(both, [], "t4") == [own]
