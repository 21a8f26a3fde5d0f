from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.kubelet.cri_log import (
    STDERR,
    STDOUT,
    LogDecoder,
    encode_record,
    find_tail_offset,
    format_timestamp,
    parse_record,
    parse_timestamp_ns,
)

T0 = 1_795_449_600_123_456_789


def _log(count: int) -> bytes:
    return b"".join(encode_record(T0 + i, STDOUT, b"line %d" % i) for i in range(count))


def test_record_reads_back_as_written() -> None:
    record = parse_record(encode_record(T0, STDERR, b"a b  c", partial=True).rstrip(b"\n"))
    assert (record.stream, record.partial, record.content) == (STDERR, True, b"a b  c")
    assert parse_timestamp_ns(record.timestamp) == T0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1970-01-01T00:00:01Z", 1_000_000_000),
        (b"1970-01-01T00:00:01.5Z", 1_500_000_000),
        (b"1970-01-01T01:00:01.000000001+01:00", 1_000_000_001),
        (b"1970-01-01T00:00:00.123456789-00:00", 123_456_789),
    ],
)
def test_timestamps_of_all_writers_are_understood(text: bytes, expected: int) -> None:
    assert parse_timestamp_ns(text) == expected


def test_parts_of_a_line_are_put_together_with_one_timestamp() -> None:
    log = (
        encode_record(T0, STDOUT, b"ab", partial=True)
        + encode_record(T0 + 1, STDERR, b"err")
        + encode_record(T0 + 2, STDOUT, b"cd")
    )
    assert LogDecoder(stream=STDOUT).feed(log) == b"abcd\n"
    timed = LogDecoder(timestamps=True, stream=STDOUT).feed(log)
    assert timed == format_timestamp(T0) + b" abcd\n"


def test_streams_are_told_apart() -> None:
    log = encode_record(T0, STDOUT, b"o") + encode_record(T0, STDERR, b"e")
    assert LogDecoder(stream=STDERR).feed(log) == b"e\n"
    assert LogDecoder().feed(log) == b"o\ne\n"


def test_time_zone_of_conmon_is_shown_as_kubernetes_does() -> None:
    log = b"2026-11-23T16:00:00.123456789+00:00 stdout F hello\n"
    assert LogDecoder(timestamps=True).feed(log) == b"2026-11-23T16:00:00.123456789Z hello\n"


def test_only_lines_since_a_time() -> None:
    decoder = LogDecoder(since_ns=T0 + 3)
    assert decoder.feed(_log(2)) == b""
    assert (
        decoder.feed(b"".join(encode_record(T0 + i, STDOUT, b"line %d" % i) for i in (2, 3, 4))) == b"line 3\nline 4\n"
    )


def test_torn_and_foreign_lines_do_not_hide_the_rest() -> None:
    log = _log(1) + b"garbage\n\n" + encode_record(T0, STDOUT, b"after")
    assert LogDecoder().feed(log) == b"line 0\nafter\n"


def test_empty_lines_stay() -> None:
    log = encode_record(T0, STDOUT, b"") + encode_record(T0, STDOUT, b"x")
    assert LogDecoder().feed(log) == b"\nx\n"


@given(
    records=st.lists(
        st.tuples(st.booleans(), st.booleans(), st.binary(max_size=20).filter(lambda b: b"\n" not in b)),
        max_size=30,
    ),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    timestamps=st.booleans(),
)
def test_chunk_borders_do_not_matter(
    records: list[tuple[bool, bool, bytes]], sizes: list[int], timestamps: bool
) -> None:
    log = b"".join(
        encode_record(T0 + i, STDOUT if out else STDERR, content, partial=partial)
        for i, (out, partial, content) in enumerate(records)
    )
    whole = LogDecoder(timestamps=timestamps).feed(log)
    decoder, pieces, at, turn = LogDecoder(timestamps=timestamps), [], 0, 0
    while at < len(log):
        size = sizes[turn % len(sizes)]
        pieces.append(decoder.feed(log[at : at + size]))
        at, turn = at + size, turn + 1
    assert b"".join(pieces) == whole


@given(count=st.integers(0, 40), wanted=st.integers(0, 50), block=st.integers(1, 200), partial_at=st.integers(0, 40))
def test_tail_starts_at_the_beginning_of_the_line(count: int, wanted: int, block: int, partial_at: int) -> None:
    log = b"".join(encode_record(T0 + i, STDOUT, b"%d" % i, partial=i == partial_at) for i in range(count))
    offset, missing = find_tail_offset(len(log), wanted, lambda at, n: log[at : at + n], block=block)
    lines = LogDecoder().feed(log).splitlines()
    shown = LogDecoder().feed(log[offset:]).splitlines()
    assert shown == (lines[-wanted:] if wanted else [])
    assert missing == max(0, wanted - len(lines))


@pytest.mark.parametrize(("wanted", "goes_on", "shown"), [
    (1, False, b"three"), (2, False, b"two\nthree"), (9, False, b"one\ntwo\nthree"),
    # The rest of it is in the next file, where it has been counted.
    (1, True, b"two\nthree"), (0, True, b""),
])  # fmt: skip
def test_line_without_an_end_is_one_of_the_last_lines(wanted: int, goes_on: bool, shown: bytes) -> None:
    texts = ((b"one", False), (b"two", False), (b"th", True), (b"ree", True))
    log = b"".join(encode_record(T0, STDOUT, text, partial=partial) for text, partial in texts)
    offset, _ = find_tail_offset(len(log), wanted, lambda at, n: log[at : at + n], block=7, goes_on=goes_on)
    assert LogDecoder().feed(log[offset:]) == shown
