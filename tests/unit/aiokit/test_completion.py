"""Work with effects ends before its caller's cancellation is felt."""

from __future__ import annotations

import asyncio
import threading

import pytest

from podhost.aiokit.completion import open_to_end, run_in_thread_to_end, run_to_end


async def test_a_cancelled_caller_waits_for_the_thread() -> None:
    started, go_on, steps = threading.Event(), threading.Event(), []

    def work() -> None:
        started.set()
        go_on.wait(5)
        steps.append("worked")

    async def caller() -> None:
        try:
            await run_in_thread_to_end(work)
        finally:
            steps.append("undone")

    task = asyncio.ensure_future(caller())
    await asyncio.to_thread(started.wait, 5)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert steps == []
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["worked", "undone"]


async def test_what_a_cancelled_caller_has_opened_is_closed() -> None:
    go_on, closed = asyncio.Event(), []

    async def open_it() -> str:
        await go_on.wait()
        return "session"

    async def close(session: str) -> None:
        await asyncio.sleep(0)
        closed.append(session)

    task = asyncio.ensure_future(open_to_end(open_it(), close))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["session"]
    assert await open_to_end(open_it(), close) == "session"
    assert closed == ["session"]


async def test_result_and_error_come_through() -> None:
    assert await run_in_thread_to_end(max, 1, 2) == 2

    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await run_to_end(fail())
