"""Ranges of ids for pods with a user namespace."""

from __future__ import annotations

from podhost.kubelet.node import can_map_ids
from podhost.kubelet.user_ids import choose_first_id


def test_ranges_begin_at_whole_ones_beyond_the_hosts_own_and_never_twice() -> None:
    taken: set[int] = set()
    for number in range(300):
        first = choose_first_id(f"pod-{number % 7}", taken)
        assert first % 65536 == 0
        assert 65536 <= first < 1 << 31
        assert first not in taken
        taken.add(first)


def test_a_pod_gets_the_same_again() -> None:
    assert choose_first_id("a", ()) == choose_first_id("a", {65536})
    assert choose_first_id("a", ()) != choose_first_id("b", ())


def test_the_kernel_must_be_new_enough() -> None:
    assert [can_map_ids(each) for each in ("6.3.0-1-amd64", "6.18.44-x", "6.2.9", "5.10.0", "odd")] == [
        True, True, False, False, False,
    ]  # fmt: skip
