"""When one probe of one container runs.

Between two runs there is a timer and nothing else; a run is a task::

    begin(at) ──timer──▶ run ──period──▶ run …        a run longer than the period is followed by the next at once
    on hold, or stopped ──▶ no timer, no task
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from podhost.aiokit.tasks import Tasks
from podhost.kubelet.probe_state import Outcome, ProbeSettings, ProbeState, compute_next_state


class ProbeLoop:
    """Runs a probe again and again, and keeps what is believed.

    Args:
        settings: Thresholds and times.
        state: What is believed before the first run.
        run: One run; does not raise.
        on_outcome: Told of each run.
        on_change: Told when what is believed has changed.
        tasks: Owns the runs.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        state: ProbeState,
        run: Callable[[], Awaitable[Outcome]],
        on_outcome: Callable[[Outcome], None],
        on_change: Callable[[], None],
        tasks: Tasks,
    ) -> None:
        self.settings = settings
        self.state = state
        self._run = run
        self._on_outcome = on_outcome
        self._on_change = on_change
        self._tasks = tasks
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._next_s = 0.0
        self._is_late = False

    def begin(self, at_s: float) -> None:
        """First run at ``at_s`` of the loop's time, or now if that has passed."""
        self._next_s = max(at_s, asyncio.get_running_loop().time())
        self._arm()

    def begin_in_step(self, since_s: float) -> None:
        """First run with the next beat of a clock that has been beating since ``since_s``."""
        now, period = asyncio.get_running_loop().time(), self.settings.period_s
        beats = max(0, math.ceil((now - since_s) / period))
        self.begin(since_s + beats * period)

    def stop(self) -> None:
        """No more runs; the present one is broken off.  Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._next_s, self._on_tick)

    def _on_tick(self) -> None:
        now, period = asyncio.get_running_loop().time(), self.settings.period_s
        # Beats that a busy loop has missed are not made up for.
        self._next_s += max(1, math.floor((now - self._next_s) / period) + 1) * period
        self._arm()
        if self._task is None or self._task.done():  # Done: it has failed in a way nobody expected, and was logged.
            self._start()
        else:
            self._is_late = True

    def _start(self) -> None:
        self._task = self._tasks.spawn(self._run_once(), name=f"probe-{self.settings.kind}")

    async def _run_once(self) -> None:
        outcome = await self._run()
        self._task = None
        before = self.state
        self.state = compute_next_state(before, self.settings, outcome.verdict)
        self._on_outcome(outcome)
        if self.state.on_hold:
            self.stop()
        elif self._is_late and self._timer is not None:
            self._is_late = False
            self._start()
        if self.state.result is not before.result:
            self._on_change()
