"""Probes and hooks that answer as a test says, for virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from podhost.api import models
from podhost.kubelet.handlers import HandlerTarget, HookError
from podhost.kubelet.probe_state import Outcome, Verdict

OK = Outcome(Verdict.SUCCESS)
BAD = Outcome(Verdict.FAILURE, "no")
BROKEN = Outcome(Verdict.UNKNOWN, "cannot ask")


@dataclass(slots=True)
class HookScript:
    """What a hook does: takes ``run_s``, then fails with ``error`` if there is one."""

    run_s: float = 0.0
    error: str = ""


@dataclass
class FakeHandlers:
    """:class:`podhost.kubelet.handlers.Handlers`; what is done is known by the first word of an exec's command."""

    answers: dict[str, list[Outcome]] = field(default_factory=dict)
    """The runs of a probe in order; the last one repeats."""
    probe_s: dict[str, float] = field(default_factory=dict)
    """How long a run takes."""
    hooks: dict[str, HookScript] = field(default_factory=dict)
    runs: list[tuple[float, str]] = field(default_factory=list)
    """(the loop's time, word) of each probe and hook that began."""
    succeeded: set[tuple[str, str]] = field(default_factory=set)
    """(container id, word) of probes that have said yes."""
    cancelled: list[str] = field(default_factory=list)
    closed: bool = False

    def times(self, word: str, since_s: float = 0.0) -> list[float]:
        """When something was done, in seconds since ``since_s``."""
        return [round(at - since_s, 1) for at, what in self.runs if what == word]

    async def probe(self, target: HandlerTarget, probe: models.Probe, timeout_s: float) -> Outcome:
        assert probe.exec is not None
        word = probe.exec.command[0]
        self.runs.append((asyncio.get_running_loop().time(), word))
        await self._take(word, self.probe_s.get(word, 0.0))
        answers = self.answers.get(word, [OK])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.verdict in (Verdict.SUCCESS, Verdict.WARNING):
            self.succeeded.add((target.container_id, word))
        return answer

    async def run_hook(self, target: HandlerTarget, handler: models.LifecycleHandler, pod: models.Pod) -> str | None:
        assert handler.exec is not None
        word = handler.exec.command[0]
        self.runs.append((asyncio.get_running_loop().time(), word))
        script = self.hooks.get(word, HookScript())
        await self._take(word, script.run_s)
        if script.error:
            raise HookError(script.error)
        return None

    async def _take(self, word: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(word)
            raise

    def close(self) -> None:
        self.closed = True
