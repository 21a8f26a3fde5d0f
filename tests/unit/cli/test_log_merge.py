"""Merged logs: ordered by time, each container's own order kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.cli.log_merge import LogMerger, merge_sorted, split_timestamp


def stamp(nanoseconds: int) -> bytes:
    return f"2026-11-23T16:00:{nanoseconds // 10**9:02d}.{nanoseconds % 10**9:09d}Z".encode()


def line(nanoseconds: int, text: str) -> bytes:
    return stamp(nanoseconds) + b" " + text.encode()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"2026-11-23T16:00:01.000000005Z hello", (b"2026-11-23T16:00:01.000000005Z", b"hello")),
        (b"2026-11-23T16:00:01.5Z hello", (b"2026-11-23T16:00:01.500000000Z", b"hello")),
        (b"2026-11-23T16:00:01Z hello", (b"2026-11-23T16:00:01.000000000Z", b"hello")),
        (b"2026-11-23T18:00:01.5+02:00 a b", (b"2026-11-23T16:00:01.500000000Z", b"a b")),
        (b"2026-11-23T16:00:01.000000005Z ", (b"2026-11-23T16:00:01.000000005Z", b"")),
        (b"no timestamp", (b"", b"no timestamp")),
        (b"", (b"", b"")),
    ],
)
def test_timestamps_are_split_off_and_made_comparable(raw: bytes, expected: tuple[bytes, bytes]) -> None:
    assert split_timestamp(raw) == expected


def test_whole_logs_are_merged_by_time() -> None:
    merged = merge_sorted([[line(1, "a1"), line(5, "a5")], [line(2, "b2"), line(3, "b3")]])
    assert [(item.source, item.text) for item in merged] == [(0, b"a1"), (1, b"b2"), (1, b"b3"), (0, b"a5")]


def test_line_waits_for_an_older_one_of_another_container() -> None:
    merger = LogMerger(window_s=0.1)
    merger.push(0, line(20, "late"), now_s=1.00)
    assert merger.pop_ready(1.05) == []
    merger.push(1, line(10, "early"), now_s=1.06)
    assert [item.text for item in merger.pop_ready(1.10)] == [b"early", b"late"]


def test_newer_line_is_held_while_older_ones_are_ready() -> None:
    merger = LogMerger(window_s=0.1)
    merger.push(0, line(10, "first"), now_s=1.0)
    merger.push(0, line(20, "second"), now_s=1.09)
    assert [item.text for item in merger.pop_ready(1.1)] == [b"first"]
    assert merger.wait_s(1.1) == pytest.approx(0.09)


def test_nothing_waits_in_an_empty_merger() -> None:
    assert LogMerger().wait_s(1.0) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**10)), max_size=60))
def test_no_line_is_lost_and_each_container_keeps_its_order(arrivals: list[tuple[int, int]]) -> None:
    merger = LogMerger(window_s=0.5)
    out = []
    for index, (source, when) in enumerate(arrivals):
        merger.push(source, line(when, str(index)), now_s=index * 0.2)
        out += merger.pop_ready(index * 0.2)
    out += merger.flush()
    assert sorted(int(item.text) for item in out) == list(range(len(arrivals)))
    for source in range(3):
        own = [int(item.text) for item in out if item.source == source]
        assert own == sorted(own)
