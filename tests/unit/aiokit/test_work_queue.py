"""client-go's work queue semantics, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from podhost.aiokit.tasks import Tasks
from podhost.aiokit.work_queue import ShutDownError, WorkQueue, run_workers

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_key_added_twice_is_handed_out_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_key_added_while_it_is_handled_is_handed_out_again_only_when_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_get_waits_for_a_key() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 3)
    assert await queue.get() == "a"
    assert now() == 3


async def test_of_several_delays_the_earliest_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 10)
    queue.add_after("a", 2)
    queue.add_after("a", 5)
    assert await queue.get() == "a"
    assert now() == 2
    queue.done("a")
    await asyncio.sleep(20)
    assert len(queue) == 0


async def test_delay_of_nothing_adds_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0)
    assert len(queue) == 1


async def test_rate_limited_delays_double_until_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue(initial_backoff_s=1, max_backoff_s=8)
    times = []
    for _ in range(5):
        queue.add_rate_limited("a")
        queue.done(await queue.get())
        times.append(now())
    queue.forget("a")
    queue.add_rate_limited("a")
    await queue.get()
    assert times == [1, 3, 7, 15, 23]
    assert now() == 24


async def test_shut_down_hands_out_what_waits_then_ends() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add_after("never", 5)
    queue.shut_down()
    queue.add("too late")
    queue.add_after("too late", 1)
    assert await queue.get() == "a"
    with pytest.raises(ShutDownError):
        await queue.get()


async def test_shut_down_wakes_those_who_wait() -> None:
    queue: WorkQueue[str] = WorkQueue()
    tasks = Tasks()
    waiting = [tasks.spawn(queue.get(), name="get") for _ in range(3)]
    await asyncio.sleep(1)
    queue.shut_down()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ShutDownError] * 3


async def test_cancelled_getter_hands_its_wake_up_to_the_next() -> None:
    queue: WorkQueue[str] = WorkQueue()
    tasks = Tasks()
    first = tasks.spawn(queue.get(), name="first")
    second = tasks.spawn(queue.get(), name="second")
    await asyncio.sleep(1)
    queue.add("a")
    first.cancel()
    assert await second == "a"


async def test_workers_handle_keys_in_parallel_and_retry_failures() -> None:
    queue: WorkQueue[str] = WorkQueue(initial_backoff_s=4)
    log: list[tuple[float, str]] = []

    async def handle(key: str) -> None:
        await asyncio.sleep(1)
        log.append((now(), key))
        if key == "bad" and len(log) < 3:
            raise RuntimeError("try again")

    for key in ("a", "bad", "b"):
        queue.add(key)
    tasks = Tasks()
    running = tasks.spawn(run_workers(queue, handle, workers=2), name="run")
    await asyncio.sleep(10)
    queue.shut_down()
    await running
    assert log == [(1, "a"), (1, "bad"), (2, "b"), (6, "bad")]


async def test_cancelled_workers_stop_their_handlers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    cancelled = []

    async def handle(key: str) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(key)
            raise

    queue.add("a")
    tasks = Tasks()
    tasks.spawn(run_workers(queue, handle, workers=2), name="run")
    await asyncio.sleep(1)
    await tasks.cancel_all()
    assert cancelled == ["a"]
