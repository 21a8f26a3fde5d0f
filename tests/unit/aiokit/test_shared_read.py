"""Reads that callers share."""

from __future__ import annotations

import asyncio

import pytest

from podhost.aiokit.shared_read import SharedRead
from podhost.aiokit.tasks import Tasks


class Source:
    """Numbers its answers, and gives one when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.shared = SharedRead(Tasks(), self.read, name="read")

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        await self.gate.acquire()
        if self.error is not None:
            raise self.error
        return number

    def ask(self) -> asyncio.Future[int]:
        return asyncio.ensure_future(self.shared())


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_during_a_read_waits_for_the_next_one_with_all_others() -> None:
    source = Source()
    first = [source.ask(), source.ask()]
    await turn()
    later = [source.ask() for _ in range(10)]
    await turn()
    assert source.begun == 1
    source.gate.release()
    assert await asyncio.gather(*first) == [1, 1]
    source.gate.release()
    assert await asyncio.gather(*later) == [2] * 10
    again = source.ask()
    source.gate.release()
    assert await again == 3


async def test_one_who_is_cancelled_takes_nothing_from_the_others() -> None:
    source = Source()
    asked = [source.ask(), source.ask()]
    await turn()
    asked[0].cancel()
    await turn()
    source.gate.release()
    assert await asked[1] == 1


async def test_a_failure_is_everybodys_and_the_next_read_is_a_new_one() -> None:
    source = Source()
    source.error = OSError("no")
    asked = [source.ask(), source.ask()]
    source.gate.release()
    for each in asked:
        with pytest.raises(OSError, match="no"):
            await each
    source.error = None
    again = source.ask()
    source.gate.release()
    assert await again == 2
