"""Many commands of probes at the same instant, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from podhost.kubelet.pod_handlers import Pace

pytestmark = pytest.mark.looptime


class Crowd:
    """Commands that take some time, and when each began."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.running = 0
        self.most = 0
        self.begun: list[float] = []

    async def run(self, seconds: float) -> None:
        async with self._pace.turn():
            self.begun.append(round(asyncio.get_running_loop().time(), 2))
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.running -= 1


async def _gather(*runs: Awaitable[None]) -> None:
    await asyncio.gather(*runs)


async def test_short_commands_run_a_few_at_a_time() -> None:
    crowd = Crowd(Pace(4, 0.25))
    await _gather(*(crowd.run(0.1) for _ in range(12)))
    assert crowd.most == 4
    assert sorted(crowd.begun) == [0.0] * 4 + [0.1] * 4 + [0.2] * 4


async def test_commands_that_hang_hold_up_the_others_for_a_moment_only() -> None:
    crowd = Crowd(Pace(2, 0.25))
    await _gather(*(crowd.run(100) for _ in range(4)), crowd.run(0.1))
    assert crowd.begun == [0.0, 0.0, 0.25, 0.25, 0.5]
    assert crowd.most == 5


async def test_command_that_is_broken_off_gives_its_turn_back() -> None:
    pace = Pace(1, 0.25)
    crowd = Crowd(pace)
    first = asyncio.ensure_future(crowd.run(100))
    waiting = asyncio.ensure_future(crowd.run(100))
    await asyncio.sleep(0.1)
    for task in (first, waiting):
        task.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    await crowd.run(0)
    assert crowd.begun == [0.0, 0.1]
    await asyncio.sleep(1)
    crowd.begun.clear()
    await _gather(crowd.run(0.1), crowd.run(0.1))
    assert crowd.begun == [1.1, 1.2]  # No turn was given back twice.
