"""API times and ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api import time


def test_years_have_four_digits() -> None:
    moment = datetime(158, 3, 10, 23, 31, 14, 5, tzinfo=UTC)
    assert time.format_time(moment) == "0158-03-10T23:31:14Z"
    assert time.format_micro_time(moment) == "0158-03-10T23:31:14.000005Z"
    assert time.format_time(1_500_000_000) == "1970-01-01T00:00:01Z"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (180 * 60, "3h"),
        (190 * 60, "3h10m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (831 * 86400, "2y101d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_ages_are_short(seconds: int, shown: str) -> None:
    assert time.human_duration(timedelta(seconds=seconds)) == shown


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 11, 23, 16, 0, 0, 123456, tzinfo=UTC)
    assert time.format_time(moment) == "2026-11-23T16:00:00Z"
    assert time.format_micro_time(moment) == "2026-11-23T16:00:00.123456Z"
    assert time.format_time(1_000_000_000_999_999_999) == "2001-09-09T01:46:40Z"
    assert time.parse_time("2026-11-23T17:00:00.123456789+01:00") == moment


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))
def test_times_survive_a_round_trip(moment: datetime) -> None:
    assert time.parse_time(time.format_micro_time(moment)) == moment


@given(st.text("0123456789-:TZ+.", max_size=25))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        time.parse_time(text)
    except ValueError:
        pass


def test_an_absent_time_has_no_age() -> None:
    assert time.format_age(None, datetime(2026, 1, 1, tzinfo=UTC)) == "<unknown>"
