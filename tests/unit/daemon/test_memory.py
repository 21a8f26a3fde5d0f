"""Memory is given back once a burst of deletions is over, and only then."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from podhost.aiokit.clock import FakeClock
from podhost.daemon.memory import MemoryTidy
from podhost.linux import malloc
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

pytestmark = pytest.mark.looptime


async def test_memory_is_given_back_after_the_start_and_once_after_a_burst_of_deletions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[float] = []
    loop = asyncio.get_running_loop()

    async def directly(fn: object) -> None:
        assert fn is malloc.trim
        trims.append(round(loop.time(), 1))

    monkeypatch.setattr(asyncio, "to_thread", directly)
    store = Store(tmp_path / "store.db", FakeClock())
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        MemoryTidy(store).start(stack)
        begin = loop.time()
        for number in range(3):
            key = ObjectKey("pods", "default", f"p{number}")
            store.create(key, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": key.name, "uid": key.name}})
            await asyncio.sleep(100)
            assert [at - round(begin, 1) for at in trims] == [3.0]
        for number in range(3):
            store.delete(ObjectKey("pods", "default", f"p{number}"))
            await asyncio.sleep(1)
        await asyncio.sleep(100)
        assert [at - round(begin, 1) for at in trims] == [3.0, 305.0]


@pytest.mark.looptime(False)
async def test_threads_that_have_nothing_to_do_end_and_those_at_work_finish_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podhost.daemon.memory._QUIET_S", 0.0)
    at_work, go_on, trimmed = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(malloc, "trim", lambda: loop.call_soon_threadsafe(trimmed.set))

    def work() -> str:
        at_work.set()
        go_on.wait(30)
        return "done"

    store = Store(tmp_path / "store.db", FakeClock())
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        stack.callback(go_on.set)
        tidy = MemoryTidy(store)
        for number in range(2):  # the pool of asyncio, then one of our own
            at_work.clear()
            go_on.clear()
            trimmed.clear()
            working = asyncio.ensure_future(asyncio.to_thread(work))
            await asyncio.to_thread(at_work.wait, 30)
            idle = await asyncio.to_thread(threading.current_thread)
            tidy._tidy_soon() if number else tidy.start(stack)
            await trimmed.wait()
            await asyncio.to_thread(idle.join, 30)
            assert not idle.is_alive()
            go_on.set()
            assert await working == "done"
