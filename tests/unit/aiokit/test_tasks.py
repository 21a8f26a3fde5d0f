"""Background tasks: named, never lost, all ended by cancel_all."""

from __future__ import annotations

import asyncio

import pytest

from podhost.aiokit.tasks import Tasks


async def test_failure_of_a_background_task_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("boom")

    tasks = Tasks()
    task = tasks.spawn(fail(), name="the-task")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "the-task" in caplog.text
    assert "boom" in caplog.text
    assert len(tasks) == 0


async def test_spawned_task_hands_its_result_to_whoever_awaits_it() -> None:
    async def answer() -> int:
        return 42

    assert await Tasks().spawn(answer(), name="answer") == 42


@pytest.mark.looptime
async def test_cancel_all_waits_until_every_task_has_ended() -> None:
    ended = []

    async def linger() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(5)
            ended.append(asyncio.get_running_loop().time())

    tasks = Tasks()
    for _ in range(3):
        tasks.spawn(linger(), name="linger")
    await asyncio.sleep(1)
    await tasks.cancel_all()
    assert ended == [6, 6, 6]
    assert len(tasks) == 0


async def test_cancel_all_also_ends_tasks_that_ending_tasks_start() -> None:
    tasks = Tasks()
    ended = []

    async def late() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("late")

    async def starter() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            tasks.spawn(late(), name="late")
            await asyncio.sleep(0)

    tasks.spawn(starter(), name="starter")
    await asyncio.sleep(0)
    await tasks.cancel_all()
    assert ended == ["late"]


async def test_a_task_may_cancel_all_others_without_cancelling_itself() -> None:
    tasks = Tasks()
    other = tasks.spawn(asyncio.sleep(1000), name="other")

    async def closer() -> str:
        await tasks.cancel_all()
        return "done"

    assert await tasks.spawn(closer(), name="closer") == "done"
    assert other.cancelled()
