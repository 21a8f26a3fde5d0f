"""Which pod goes first, and the kubelet's words about it."""

from __future__ import annotations

import pytest

from podhost.kubelet.eviction_ranking import (
    ContainerUse,
    PodUse,
    build_eviction_text,
    compute_grace_s,
    rank_pods,
)
from podhost.kubelet.eviction_thresholds import MEMORY, NODE_DISK, NODE_INODES, PIDS, Amount, Observation, Threshold

MIB = 1 << 20
BY_USE = [
    PodUse("not measured", 10_000, None, 0),
    PodUse("best effort, large", 0, 500, 0),
    PodUse("burstable, 100 over", 0, 400, 300),
    PodUse("best effort, small", 0, 50, 0),
    PodUse("important, over", 1000, 900, 0),
    PodUse("within its request, nearly", 0, 299, 300),
    PodUse("within its request, idle", 0, 1, 300),
    PodUse("important, within", 1000, 300, 300),
]
BY_COUNT = [
    PodUse("not measured", 0, None, 0),
    PodUse("many", 0, 500, 0),
    PodUse("few", 0, 5, 0),
    PodUse("important, very many", 1000, 9000, 0),
]


@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage", "inodes"])
def test_pods_over_their_request_go_first_then_by_priority_then_by_what_is_over(resource: str) -> None:
    assert rank_pods(resource, reversed(BY_USE)) == BY_USE


def test_process_ids_are_taken_from_those_of_low_priority_with_the_most() -> None:
    assert rank_pods("pids", reversed(BY_COUNT)) == BY_COUNT


def test_text_names_the_threshold_and_each_container_over_its_request() -> None:
    containers = (
        ContainerUse("a", 120 * 1024),
        ContainerUse("b", 64 * MIB, "64Mi"),
        ContainerUse("c", 65 * MIB, "65536Ki"),
        ContainerUse("d", 65 * MIB, "1000k"),
    )
    text = build_eviction_text(
        Threshold(MEMORY, Amount("100Mi")),
        Observation(97340 * 1024, 4096 * MIB),
        PodUse("u", 0, 300 * MIB, 0, containers=containers),
    )
    assert text.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 97340Ki. "
        "Container a was using 120Ki, request is 0, has larger consumption of memory. "
        "Container c was using 65Mi, request is 64Mi, has larger consumption of memory. "
        "Container d was using 65Mi, request is 1M, has larger consumption of memory. "
    )
    assert text.annotations == {
        "offending_containers": "a,c,d",
        "offending_containers_usage": "120Ki,65Mi,65Mi",
        "starved_resource": "memory",
    }


def test_pod_with_requests_of_its_own_is_named_too() -> None:
    text = build_eviction_text(
        Threshold(MEMORY, Amount("1Gi")),
        Observation(MIB, 4096 * MIB),
        PodUse("u", 0, 3 * MIB, 0, "web", "2Mi", (ContainerUse("a", 3 * MIB),)),
    )
    assert text.message == (
        "The node was low on resource: memory. Threshold quantity: 1Gi, available: 1Mi. "
        "Pod web was using 3Mi, request is 2Mi, has larger consumption of memory. "
        "Container a was using 3Mi, request is 0, has larger consumption of memory. "
    )
    assert text.annotations["offending_pod"] == "web"
    assert text.annotations["offending_pod_usage"] == "3Mi"


@pytest.mark.parametrize(
    ("signal", "seen", "message"),
    [
        (NODE_DISK, Observation(5 * MIB, 100 * MIB), "ephemeral-storage. Threshold quantity: 50Mi, available: 5Mi. "),
        (NODE_INODES, Observation(4000, 65536), "inodes. Threshold quantity: 32Ki, available: 4k. "),
        (PIDS, Observation(12, 1000), "pids. Threshold quantity: 500, available: 12. "),
    ],
)
def test_parts_of_a_capacity_are_told_as_amounts(signal: str, seen: Observation, message: str) -> None:
    text = build_eviction_text(Threshold(signal, Amount(share=0.5)), seen, PodUse("u", 0, 1, 0))
    assert text.message == f"The node was low on resource: {message}"
    assert text.annotations["offending_containers"] == ""


def test_about_a_pod_that_could_not_be_measured_nothing_more_is_said() -> None:
    text = build_eviction_text(Threshold(PIDS, Amount("1k")), Observation(5, 10), PodUse("u", 0, None, 0, "web", "1Gi"))
    assert text.message == "The node was low on resource: pids. Threshold quantity: 1k, available: 5. "
    assert text.annotations == {}


@pytest.mark.parametrize(
    ("grace_s", "most_s", "pod_s", "expected"),
    [(0, 60, 30, 1), (5, 0, 30, 1), (5, 20, 30, 20), (5, 60, 30, 30), (5, -1, 30, 30), (5, 60, 0, 1)],
)
def test_soft_threshold_leaves_time_up_to_a_bound(grace_s: float, most_s: int, pod_s: int, expected: float) -> None:
    assert compute_grace_s(Threshold(MEMORY, Amount("1"), grace_s), most_s, pod_s) == expected
