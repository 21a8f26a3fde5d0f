"""The first half of ``podhost up``: until every pod is ready or has ended, or will not be."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from podhost.cli.board import BoardStyle, PodRows, compute_rows, draw_board
from podhost.cli.hints import say_hint
from podhost.cli.live_region import LiveRegion
from podhost.cli.terminal import StatusLine, has_colour, has_unicode, paint, quote_output, say
from podhost.cli.up_pods import TrackedPod, TrackedPods
from podhost.cli.verdict import Verdict
from podhost.errors import PodhostError

EXIT_STUCK, EXIT_TIMEOUT = 1, 124
LOG_TAIL_LINES = 10
SETTLE_S = 0.5
"""How long a pod must stay ready before that is told, and pods with --detach before it ends.

A container without a probe is ready before it has failed.
"""
_FRAMES_PER_S = 8
_FINAL = ("ready", "completed", "failed")


class Display(Protocol):
    """How the waiting is shown."""

    tick_s: float
    """How often it wants to be shown again when nothing happens."""

    def show(self, pods: TrackedPods) -> None: ...

    def finish(self, pods: TrackedPods) -> None:
        """What is known now stays on the terminal."""

    def clear(self) -> None: ...


def _has_settled(pod: TrackedPod, verdict: Verdict, elapsed_s: float) -> bool:
    """A line cannot be taken back: ready is told once it has lasted."""
    return verdict.state != "ready" or (pod.settled_s is not None and elapsed_s - pod.settled_s >= SETTLE_S)


class PlainDisplay:
    """One line for each step, for pipes and log files."""

    tick_s = 1.0

    def __init__(self) -> None:
        self._line = StatusLine()

    def show(self, pods: TrackedPods, *, is_last: bool = False) -> None:
        waiting = []
        for pod in pods.pods:
            verdict = pod.verdict
            if verdict is None or verdict.state == "stuck":
                continue
            if verdict.state == "waiting":
                waiting.append(f"{pod.name}: {verdict.text}")
            elif pod.told != verdict.state and (is_last or _has_settled(pod, verdict, pods.elapsed_s())):
                pod.told = verdict.state
                after_s = pods.elapsed_s() if pod.settled_s is None else pod.settled_s
                mark, colour = ("✗", "red") if verdict.state == "failed" else ("✓", "green")
                failed = "failed: " if verdict.state == "failed" else ""
                say(f"pod/{pod.name} {failed}{verdict.text} after {after_s:.1f} s", mark=mark, colour=colour)
        if waiting:
            self._line.show(f"… {'; '.join(waiting)}")

    def finish(self, pods: TrackedPods) -> None:
        self.show(pods, is_last=True)

    def clear(self) -> None:
        self._line.clear()


class BoardDisplay:
    """The live table."""

    tick_s = 1 / _FRAMES_PER_S

    def __init__(self) -> None:
        self._region = LiveRegion(sys.stderr)
        self._colour = has_colour(sys.stderr)
        self._ascii = not has_unicode(sys.stderr)

    def show(self, pods: TrackedPods) -> None:
        self._region.draw(self._lines(pods))

    def finish(self, pods: TrackedPods) -> None:
        self.show(pods)
        self._region.keep()
        for pod in pods.pods:
            if pod.verdict is not None and pod.verdict.state in _FINAL:
                pod.told = pod.verdict.state

    def clear(self) -> None:
        self._region.clear()

    def _lines(self, pods: TrackedPods) -> list[str]:
        width, height = self._region.size()
        rows = []
        for pod in pods.pods:
            verdict = pod.verdict or pod.judge()
            elapsed_s = pods.elapsed_s() if pod.settled_s is None else pod.settled_s
            containers = compute_rows(pod.object, pod.ordered_events(), pods.pulls)
            rows.append(PodRows(name=pod.name, verdict=verdict, elapsed_s=elapsed_s, rows=containers))
        frame = int(pods.elapsed_s() * _FRAMES_PER_S)
        style = BoardStyle(width=width, height=height, colour=self._colour, ascii=self._ascii, frame=frame)
        return draw_board(rows, style)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitOptions:
    """What is waited for."""

    timeout_s: float
    detach: bool
    """Nobody follows the logs afterwards: ready must last a moment, and a failure shows its last lines."""
    removal: str = ""
    """The command that removes what cannot start."""


class Waiting:
    """Waits, shows, and explains what cannot become ready."""

    def __init__(self, pods: TrackedPods, options: WaitOptions, display: Display) -> None:
        self._pods = pods
        self._options = options
        self._display = display

    def run(self) -> int | None:
        """``None`` when every pod is ready or has ended; else the exit code of giving up."""
        try:
            return self._run()
        except KeyboardInterrupt:
            self._display.finish(self._pods)
            raise
        finally:
            self._display.clear()

    def _run(self) -> int | None:
        pods, deadline = self._pods, self._pods.started + self._options.timeout_s
        settled_at: float | None = None
        while True:
            left = (settled_at or deadline) - time.monotonic()
            if left <= 0:
                return self._end() if settled_at is not None else self._give_up()
            self._receive(min(left, self._display.tick_s))
            verdicts = self._judge()
            if any(verdict.state == "stuck" or pod.gone for pod, verdict in verdicts):
                return self._explain_stuck()
            self._display.show(pods)
            if any(verdict.state == "waiting" for _, verdict in verdicts):
                settled_at = None
            elif not self._options.detach or all(verdict.state != "ready" for _, verdict in verdicts):
                return self._end()
            else:
                settled_at = settled_at or time.monotonic() + SETTLE_S

    def _receive(self, timeout_s: float) -> None:
        """One thing, and all else that is there."""
        try:
            self._pods.take(self._pods.inbox.get(timeout=timeout_s))
            while True:
                self._pods.take(self._pods.inbox.get_nowait())
        except queue.Empty:
            return

    def _judge(self) -> list[tuple[TrackedPod, Verdict]]:
        verdicts = [(pod, pod.judge()) for pod in self._pods.pods]
        for pod, verdict in verdicts:
            if verdict.state == "waiting":
                pod.settled_s = None
            elif pod.settled_s is None:
                pod.settled_s = self._pods.elapsed_s()
        return verdicts

    def _end(self) -> int | None:
        self._display.finish(self._pods)
        if self._options.detach:
            for pod in self._pods.pods:
                if pod.verdict is not None and pod.verdict.state == "failed":
                    self._show_log(pod, pod.verdict)
                    if pod.verdict.next_step:
                        say_hint(pod.verdict.next_step)
        return None

    def _give_up(self) -> int:
        self._display.finish(self._pods)
        self._display.clear()
        for pod in self._pods.pods:
            verdict = pod.judge()
            if verdict.state == "waiting":
                text = f"pod/{pod.name} is not ready after {self._options.timeout_s:.0f} s: {verdict.text}"
                say(text, mark="✗", colour="red")
                self._show_log(pod, verdict)
                say_hint(f"look closer: podhost describe {pod.name} -n {pod.namespace}")
        return EXIT_TIMEOUT

    def _explain_stuck(self) -> int:
        self._display.finish(self._pods)
        self._display.clear()
        for pod in self._pods.pods:
            if pod.gone:
                say(f"pod/{pod.name} was deleted while podhost waited for it", mark="✗", colour="red")
            elif pod.verdict is not None and pod.verdict.state == "stuck":
                self._explain(pod, pod.verdict)
        return EXIT_STUCK

    def _explain(self, pod: TrackedPod, verdict: Verdict) -> None:
        what = "was ready, and is so no longer" if pod.told == "ready" else "cannot become ready"
        say(f"pod/{pod.name} {what}: {quote_output(verdict.text)}", mark="✗", colour="red")
        self._show_log(pod, verdict)
        if verdict.next_step:
            say_hint(verdict.next_step)
        if self._options.removal:
            say_hint(f"the pod stays and is tried again; remove it: {self._options.removal}")

    def _show_log(self, pod: TrackedPod, verdict: Verdict) -> None:
        lines = self._read_tail(pod, verdict) if verdict.container else []
        if lines:
            say(f"    last lines of {pod.name}/{verdict.container}:")
        for line in lines:
            say(paint(f"    | {quote_output(line.decode(errors='replace'))}", "grey", enabled=has_colour(sys.stderr)))

    def _read_tail(self, pod: TrackedPod, verdict: Verdict) -> Sequence[bytes]:
        query = {"tailLines": LOG_TAIL_LINES, "previous": verdict.previous_log}
        try:
            return list(self._pods.client.stream_log(pod.namespace, pod.name, verdict.container, **query))
        except PodhostError:
            return []
