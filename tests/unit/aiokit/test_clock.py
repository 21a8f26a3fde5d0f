"""FakeClock moves with virtual time; SystemClock tells the machine's time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from podhost.aiokit.clock import FakeClock, SystemClock, datetime_from_ns

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_system_clock_tells_utc_now() -> None:
    before = time.time_ns()
    clock = SystemClock()
    assert before <= clock.now_ns() <= time.time_ns()
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_fake_clock_stands_still_without_a_loop_until_advanced() -> None:
    clock = FakeClock(START)
    assert clock.now() == START
    clock.advance(1.5)
    assert clock.now() == START + timedelta(seconds=1.5)


@pytest.mark.looptime
async def test_fake_clock_moves_with_the_loops_virtual_time() -> None:
    clock = FakeClock(START)
    assert clock.now() == START
    await asyncio.sleep(3600)
    assert clock.now() == START + timedelta(hours=1)
    clock.advance(60)
    assert clock.now() == START + timedelta(hours=1, minutes=1)


def test_nanoseconds_become_a_datetime_without_rounding() -> None:
    assert datetime_from_ns(1_700_000_000_123_456_789) == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
