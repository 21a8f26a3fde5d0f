"""One ordered worker a key, parallel across keys, latest value wins."""

from __future__ import annotations

import asyncio

import pytest

from podhost.aiokit.keyed_worker import KeyedWorkers

pytestmark = pytest.mark.looptime


class Recorder:
    """A handler that takes one second and notes when it started what."""

    def __init__(self) -> None:
        self.started: list[tuple[float, str, int]] = []

    async def __call__(self, key: str, value: int) -> None:
        self.started.append((asyncio.get_running_loop().time(), key, value))
        await asyncio.sleep(1)


async def test_keys_are_handled_in_parallel() -> None:
    recorder = Recorder()
    workers = KeyedWorkers(recorder, name="test")
    workers.submit("a", 1)
    workers.submit("b", 2)
    await workers.wait_idle("a")
    await workers.wait_idle("b")
    assert recorder.started == [(0, "a", 1), (0, "b", 2)]


async def test_values_of_one_key_follow_each_other_and_only_the_latest_waits() -> None:
    recorder = Recorder()
    workers = KeyedWorkers(recorder, name="test")
    workers.submit("a", 1)
    await asyncio.sleep(0.5)
    for value in (2, 3, 4):
        workers.submit("a", value)
    await workers.wait_idle("a")
    assert recorder.started == [(0, "a", 1), (1, "a", 4)]


async def test_of_several_values_submitted_at_once_the_latest_is_handled() -> None:
    recorder = Recorder()
    workers = KeyedWorkers(recorder, name="test")
    workers.submit("a", 1)
    workers.submit("a", 2)
    await workers.wait_idle("a")
    assert recorder.started == [(0, "a", 2)]


async def test_a_handler_may_submit_its_own_key_again() -> None:
    seen: list[int] = []

    async def count_down(key: str, value: int) -> None:
        seen.append(value)
        if value:
            workers.submit(key, value - 1)

    workers = KeyedWorkers(count_down, name="test")
    workers.submit("a", 3)
    await workers.wait_idle("a")
    assert seen == [3, 2, 1, 0]
    assert workers.is_idle("a")
    assert workers.active_keys() == set()


async def test_failure_is_reported_and_the_key_goes_on() -> None:
    failures: list[tuple[str, int, str]] = []
    handled: list[int] = []

    async def fail_odd(key: str, value: int) -> None:
        await asyncio.sleep(1)
        if value % 2:
            raise ValueError(f"odd {value}")
        handled.append(value)

    def on_error(key: str, value: int, error: Exception) -> None:
        failures.append((key, value, str(error)))

    workers = KeyedWorkers(fail_odd, name="test", on_error=on_error)
    workers.submit("a", 1)
    await asyncio.sleep(0.5)
    workers.submit("a", 2)
    await workers.wait_idle("a")
    assert failures == [("a", 1, "odd 1")]
    assert handled == [2]


async def test_failure_without_on_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(key: str, value: int) -> None:
        raise ValueError("broken")

    workers = KeyedWorkers(fail, name="testers")
    workers.submit("a", 1)
    await workers.wait_idle("a")
    assert "testers: handling a failed: broken" in caplog.text


async def test_failing_on_error_does_not_stop_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(key: str, value: int) -> None:
        raise ValueError("broken")

    def on_error(key: str, value: int, error: Exception) -> None:
        raise RuntimeError("worse")

    workers = KeyedWorkers(fail, name="test", on_error=on_error)
    workers.submit("a", 1)
    await workers.wait_idle("a")
    workers.submit("a", 2)
    await workers.wait_idle("a")
    assert caplog.text.count("RuntimeError: worse") == 2


async def test_stop_cancels_what_runs_and_drops_what_waits() -> None:
    recorder = Recorder()
    workers = KeyedWorkers(recorder, name="test")
    workers.submit("a", 1)
    await asyncio.sleep(0.5)
    workers.submit("a", 2)
    workers.submit("b", 3)
    await workers.stop()
    workers.submit("c", 4)
    await workers.wait_idle("c")
    assert recorder.started == [(0, "a", 1)]
    assert asyncio.get_running_loop().time() == 0.5
