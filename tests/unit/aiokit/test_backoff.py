"""Back-off as a table: what was done, at which times, and the delays that follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.aiokit.backoff import Backoff


def test_delay_doubles_up_to_the_maximum() -> None:
    backoff: Backoff[str] = Backoff(10, 300)
    now, delays = 0.0, []
    for _ in range(7):
        delays.append(backoff.next("pod", now))
        now += delays[-1]
    assert delays == [10, 20, 40, 80, 160, 300, 300]


def test_unknown_key_has_no_delay() -> None:
    assert Backoff[str](10, 300).delay_s("pod", 0) == 0
    assert Backoff[str](10, 300).remaining_s("pod", 0) == 0


def test_keys_are_independent() -> None:
    backoff: Backoff[str] = Backoff(10, 300)
    backoff.next("a", 0)
    backoff.next("a", 0)
    assert backoff.next("b", 0) == 10
    assert backoff.delay_s("a", 0) == 20


def test_remaining_time_counts_from_the_last_failure() -> None:
    backoff: Backoff[str] = Backoff(10, 300)
    backoff.next("a", 100)
    assert backoff.remaining_s("a", 104) == 6
    assert backoff.remaining_s("a", 111) == 0


@pytest.mark.parametrize(("quiet_s", "expected"), [(600, 20), (600.1, 10)])
def test_key_starts_afresh_after_twice_the_maximum(quiet_s: float, expected: float) -> None:
    backoff: Backoff[str] = Backoff(10, 300)
    backoff.next("a", 0)
    assert backoff.next("a", quiet_s) == expected


def test_reset_forgets_the_key() -> None:
    backoff: Backoff[str] = Backoff(10, 300)
    backoff.next("a", 0)
    backoff.reset("a")
    backoff.reset("never seen")
    assert backoff.delay_s("a", 0) == 0
    assert backoff.next("a", 0) == 10


def test_gc_drops_only_what_no_longer_counts() -> None:
    backoff: Backoff[str] = Backoff(10, 300, reset_after_s=60)
    backoff.next("old", 0)
    backoff.next("new", 50)
    backoff.gc(61)
    assert backoff.delay_s("old", 0) == 0
    assert backoff.delay_s("new", 61) == 10


@given(gaps=st.lists(st.floats(0, 2000), max_size=30))
def test_delay_always_stays_between_initial_and_maximum(gaps: list[float]) -> None:
    backoff: Backoff[str] = Backoff(1, 64, factor=3)
    now = 0.0
    for gap in gaps:
        now += gap
        assert 1 <= backoff.next("k", now) <= 64
        assert 0 <= backoff.remaining_s("k", now) <= 64
