"""When a probe runs, to the second, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from podhost.aiokit.tasks import Tasks
from podhost.kubelet.probe_loop import ProbeLoop
from podhost.kubelet.probe_state import Outcome, ProbeSettings, Verdict, build_initial_state

pytestmark = pytest.mark.looptime


@dataclass
class Watch:
    """Runs of one loop, as (begin, end)."""

    run_s: float = 0.0
    verdict: Verdict = Verdict.SUCCESS
    begun: list[float] = field(default_factory=list)
    changes: int = 0
    tasks: Tasks = field(default_factory=Tasks)
    loop: ProbeLoop = field(init=False)

    def __post_init__(self) -> None:
        self.origin_s = asyncio.get_running_loop().time()

    def build(self, settings: ProbeSettings) -> ProbeLoop:
        async def run() -> Outcome:
            self.begun.append(round(asyncio.get_running_loop().time() - self.origin_s, 2))
            await asyncio.sleep(self.run_s)
            return Outcome(self.verdict)

        self.loop = ProbeLoop(
            settings, build_initial_state(settings.kind), run, lambda outcome: None, self._on_change, self.tasks
        )
        return self.loop

    def _on_change(self) -> None:
        self.changes += 1


@pytest.mark.parametrize(
    ("run_s", "begin", "expected"),
    [
        (0.0, lambda loop, now: loop.begin(now + 3), [3, 8, 13, 18]),
        (2.0, lambda loop, now: loop.begin(now), [0, 5, 10, 15]),
        (0.0, lambda loop, now: loop.begin(now - 100), [0, 5, 10, 15]),
        (0.0, lambda loop, now: loop.begin_in_step(now - 12), [3, 8, 13, 18]),
        (0.0, lambda loop, now: loop.begin_in_step(now + 7), [7, 12, 17]),
        # Longer than the period: one follows the other, with one beat kept at most.
        (7.0, lambda loop, now: loop.begin(now), [0, 7, 14]),
    ],
)
async def test_runs_keep_the_beat(
    run_s: float, begin: Callable[[ProbeLoop, float], None], expected: list[float]
) -> None:
    watch = Watch(run_s)
    begin(watch.build(ProbeSettings("readiness", period_s=5)), watch.origin_s)
    await asyncio.sleep(19.5)
    watch.loop.stop()
    await watch.tasks.cancel_all()
    assert watch.begun == expected


async def test_between_two_runs_there_is_no_task() -> None:
    watch = Watch()
    watch.build(ProbeSettings("readiness", period_s=5)).begin(0)
    await asyncio.sleep(12)
    assert len(watch.tasks) == 0
    assert len(asyncio.all_tasks()) == 1
    watch.loop.stop()


async def test_liveness_that_has_failed_is_not_asked_again() -> None:
    watch = Watch(verdict=Verdict.FAILURE)
    watch.build(ProbeSettings("liveness", period_s=5, failure_threshold=2)).begin(0)
    await asyncio.sleep(60)
    assert watch.begun == [0, 5]
    assert watch.changes == 1


async def test_stop_breaks_a_run_off() -> None:
    watch = Watch(run_s=100)
    watch.build(ProbeSettings("liveness", period_s=5)).begin(0)
    await asyncio.sleep(1)
    watch.loop.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(watch.tasks) == 0
    await asyncio.sleep(60)
    assert watch.begun == [0]


async def test_run_that_fails_unexpectedly_is_not_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[float] = []

    async def run() -> Outcome:
        runs.append(asyncio.get_running_loop().time())
        raise RuntimeError("a bug")

    tasks = Tasks()
    settings = ProbeSettings("liveness", period_s=5)
    loop = ProbeLoop(settings, build_initial_state("liveness"), run, lambda _: None, lambda: None, tasks)
    loop.begin(0)
    await asyncio.sleep(12)
    assert len(runs) == 3
    assert "a bug" in caplog.text
    loop.stop()
