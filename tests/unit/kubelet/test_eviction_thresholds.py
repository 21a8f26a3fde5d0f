"""Eviction flags in the kubelet's syntax and with its messages, and which thresholds are met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.kubelet.eviction_thresholds import (
    ALLOCATABLE_MEMORY,
    DEFAULT_EVICTION_HARD,
    IMAGE_DISK,
    IMAGE_INODES,
    MEMORY,
    NODE_DISK,
    NODE_INODES,
    PIDS,
    Amount,
    Observation,
    Threshold,
    build_thresholds,
    find_met,
    find_near,
    format_available,
    parse_pairs,
    sort_thresholds,
)

MIB = 1 << 20


def hard(text: str) -> tuple[Threshold, ...]:
    return build_thresholds(parse_pairs(text, "<"))


def test_defaults_are_of_the_kubelets_signals() -> None:
    signals = [each.signal for each in hard(DEFAULT_EVICTION_HARD)]
    assert signals == [MEMORY, NODE_DISK, NODE_INODES, IMAGE_DISK, IMAGE_INODES]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory.available<1.5Gi", [Threshold(MEMORY, Amount("1536Mi"))]),
        ("memory.available<1000M", [Threshold(MEMORY, Amount("1G"))]),
        ("nodefs.inodesFree<50%", [Threshold(NODE_INODES, Amount(share=0.5))]),
        (" pid.available < 1k ", [Threshold(PIDS, Amount("1k"))]),
        ("allocatableMemory.available<1Gi", [Threshold(ALLOCATABLE_MEMORY, Amount("1Gi"))]),
        ("memory.available<1Mi,memory.available<2Mi", [Threshold(MEMORY, Amount("2Mi"))]),
        ("memory.available<0%,nodefs.available<100%", []),
        ("containerfs.available<1Gi,containerfs.inodesFree<5%", []),
        ("", []),
    ],
)
def test_hard_thresholds_are_read_as_the_kubelet_does(text: str, expected: list[Threshold]) -> None:
    assert list(hard(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memory.available>1Gi", "malformed pair, expect string<string"),
        ("cpu.available<1", "unsupported eviction signal cpu.available"),
        ("memory.available<0", "eviction threshold memory.available must be positive: 0"),
        ("memory.available<-1Mi", "eviction threshold memory.available must be positive: -1Mi"),
        ("memory.available<-1%", "eviction percentage threshold memory.available must be >= 0%: -1%"),
        ("memory.available<101%", "eviction percentage threshold memory.available must be <= 100%: 101%"),
        ("memory.available<x%", 'strconv.ParseFloat: parsing "x": invalid syntax'),
        ("memory.available<1e60%", 'strconv.ParseFloat: parsing "1e60": value out of range'),
        (
            "memory.available<much",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_hard_thresholds_that_cannot_be_are_refused_in_the_kubelets_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        hard(text)
    assert str(caught.value) == message


def test_soft_thresholds_have_a_grace_period_and_share_the_minimum_to_reclaim() -> None:
    found = build_thresholds(
        {"memory.available": "100Mi"},
        {"memory.available": "300Mi", "nodefs.available": "20%"},
        {"memory.available": "1m30s", "nodefs.available": "2m", "imagefs.available": "1s"},
        {"memory.available": "50Mi", "pid.available": "5%"},
    )
    assert [(each.signal, each.grace_s, each.is_hard, each.min_reclaim) for each in found] == [
        (MEMORY, 0.0, True, Amount("50Mi")),
        (MEMORY, 90.0, False, Amount("50Mi")),
        (NODE_DISK, 120.0, False, None),
    ]


@pytest.mark.parametrize(
    ("grace", "reclaim", "message"),
    [
        ({}, {}, "grace period must be specified for the soft eviction threshold memory.available"),
        ({"a": "1s"}, {}, "unsupported eviction signal a"),
        ({"memory.available": "5"}, {}, 'time: missing unit in duration "5"'),
        ({"memory.available": "soon"}, {}, 'time: invalid duration "soon"'),
        (
            {"memory.available": "-5s"},
            {},
            "invalid eviction grace period specified: -5s, must be a positive value",
        ),
        ({"memory.available": "5s"}, {"a": "1"}, "unsupported eviction signal a"),
        (
            {"memory.available": "5s"},
            {"memory.available": "0%"},
            "eviction percentage minimum reclaim memory.available must be positive: 0%",
        ),
        (
            {"memory.available": "5s"},
            {"memory.available": "-1"},
            "negative eviction minimum reclaim specified for memory.available",
        ),
    ],
)
def test_soft_thresholds_that_cannot_be_are_refused_in_the_kubelets_words(
    grace: dict[str, str], reclaim: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        build_thresholds({}, {"memory.available": "1Gi"}, grace, reclaim)
    assert str(caught.value) == message


def test_part_of_the_capacity_is_counted_with_32_bits_as_go_does() -> None:
    (tenth,) = hard("nodefs.available<10%")
    assert (tenth.value.compute(1000 * MIB), tenth.value.format(1000 * MIB)) == (104857601, "104857601")
    (half,) = hard("nodefs.available<50%")
    assert half.value.format(1000 * MIB) == "500Mi"


def test_exactly_the_threshold_is_enough_and_memory_comes_first() -> None:
    thresholds = hard("pid.available<10,nodefs.available<10%,memory.available<100Mi")
    roomy = {MEMORY: Observation(100 * MIB, 1000 * MIB), NODE_DISK: Observation(10, 100), PIDS: Observation(10, 99)}
    assert find_met(thresholds, roomy) == ()
    full = {MEMORY: Observation(100 * MIB - 1, 1000 * MIB), NODE_DISK: Observation(9, 100), PIDS: Observation(9, 99)}
    assert [each.signal for each in find_met(thresholds, full)] == [MEMORY, NODE_DISK, PIDS]
    assert find_met(thresholds, {}) == ()


def test_minimum_to_reclaim_counts_when_it_is_asked_for() -> None:
    thresholds = build_thresholds({NODE_DISK: "10%"}, min_reclaim={NODE_DISK: "20"})
    seen = {NODE_DISK: Observation(29, 100)}
    assert find_met(thresholds, seen) == ()
    assert find_met(thresholds, seen, with_reclaim=True) == thresholds
    assert find_met(thresholds, {NODE_DISK: Observation(30, 100)}, with_reclaim=True) == ()


def test_less_than_twice_a_threshold_is_near() -> None:
    thresholds = hard("memory.available<100Mi")
    assert find_near(thresholds, {MEMORY: Observation(200 * MIB, 1 << 30)}) == ()
    assert find_near(thresholds, {MEMORY: Observation(200 * MIB - 1, 1 << 30)}) == thresholds


def test_hard_thresholds_go_before_soft_ones_of_the_same_signal() -> None:
    soft, firm = Threshold(MEMORY, Amount("1Gi"), 30.0), Threshold(MEMORY, Amount("1Mi"))
    assert sort_thresholds([Threshold(PIDS, Amount("1")), soft, firm])[:2] == (firm, soft)


def test_what_is_left_is_spelled_in_the_signals_own_family() -> None:
    seen = Observation(5000 * 1024, 1 << 40)
    assert format_available(MEMORY, seen) == "5000Ki"
    assert format_available(NODE_INODES, Observation(5000, 10_000)) == "5k"
    assert format_available(PIDS, Observation(4096, 10_000)) == "4096"


_VALUES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[-+]?[0-9]{0,5}(\.[0-9]{0,3})?([KMG]i|[kMGmn]|e[0-9]{1,3})?%?", fullmatch=True),
)


@given(
    signal=st.sampled_from([MEMORY, NODE_INODES, PIDS]),
    value=_VALUES,
    reclaim=_VALUES,
    capacity=st.integers(0, 1 << 62),
)
def test_whatever_a_flag_says_is_a_threshold_within_the_capacity_or_an_error(
    signal: str, value: str, reclaim: str, capacity: int
) -> None:
    try:
        (threshold,) = build_thresholds({signal: value}, min_reclaim={signal: reclaim}) or (None,)
    except ValueError:
        return
    if threshold is None:
        assert value in ("0%", "100%")
        return
    assert threshold.value.compute(capacity) >= 0
    if not threshold.value.quantity:
        assert threshold.value.compute(capacity) <= capacity
    assert threshold.value.format(capacity)
    seen = {signal: Observation(capacity, capacity)}
    assert set(find_met([threshold], seen)) <= set(find_met([threshold], seen, with_reclaim=True))
