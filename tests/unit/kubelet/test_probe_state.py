"""Table of :mod:`podhost.kubelet.probe_state`: a sequence of results, and what is believed after each."""

from __future__ import annotations

import msgspec
import pytest

from podhost.api import models
from podhost.kubelet.probe_state import (
    Outcome,
    ProbeKind,
    ProbeSettings,
    Result,
    Verdict,
    build_initial_state,
    build_settings,
    compute_next_state,
    compute_outcome,
    describe_outcome,
)

VERDICTS = {"s": Verdict.SUCCESS, "w": Verdict.WARNING, "f": Verdict.FAILURE, "u": Verdict.UNKNOWN, "m": Verdict.MOOT}
LETTERS = {Result.SUCCESS: "S", Result.FAILURE: "F", Result.UNKNOWN: "?"}

# kind, success threshold, failure threshold, results of the runs, what is believed at first and after each ("!": on hold)
TABLE: list[tuple[ProbeKind, int, int, str, str]] = [
    ("readiness", 1, 3, "", "F"),
    ("readiness", 1, 3, "s", "FS"),
    ("readiness", 1, 3, "sffsfff", "FSSSSSSF"),
    ("readiness", 1, 1, "sfs", "FSFS"),
    ("readiness", 3, 1, "ssfsss", "FFFFFFS"),
    ("readiness", 1, 3, "ww", "FSS"),
    ("readiness", 1, 3, "sffuf", "FSSSSF"),
    ("readiness", 1, 3, "u", "FF"),
    ("readiness", 1, 1, "sm", "FSS"),
    ("readiness", 1, 3, "sffmf", "FSSSSF"),
    ("liveness", 1, 3, "", "S"),
    ("liveness", 1, 3, "ffs", "SSSS"),
    ("liveness", 1, 3, "fff", "SSSF!"),
    ("liveness", 1, 3, "ffuuf", "SSSSSF!"),
    ("liveness", 1, 1, "fs", "SF!F!"),
    ("liveness", 1, 1, "m", "SS"),
    ("startup", 1, 3, "", "?"),
    ("startup", 1, 3, "ffs", "???S"),
    ("startup", 1, 3, "fff", "???F!"),
    ("startup", 1, 30, "u" * 5, "??????"),
]


@pytest.mark.parametrize(("kind", "successes", "failures", "runs", "believed"), TABLE)
def test_results_change_what_is_believed_at_their_thresholds(
    kind: ProbeKind, successes: int, failures: int, runs: str, believed: str
) -> None:
    settings = ProbeSettings(kind, success_threshold=successes, failure_threshold=failures)
    state = build_initial_state(kind)
    seen = LETTERS[state.result]
    for letter in runs:
        state = compute_next_state(state, settings, VERDICTS[letter])
        seen += LETTERS[state.result] + ("!" if state.on_hold else "")
    assert seen == believed


def test_delays_are_scaled_and_timeouts_are_not() -> None:
    probe = msgspec.convert({"initialDelaySeconds": 20, "periodSeconds": 10, "timeoutSeconds": 5}, models.Probe)
    settings = build_settings("liveness", probe, 0.1)
    assert (settings.initial_delay_s, settings.period_s, settings.timeout_s) == (2.0, 1.0, 5.0)
    assert (settings.success_threshold, settings.failure_threshold) == (1, 3)


@pytest.mark.parametrize(
    ("kind", "verdict", "expected"),
    [
        ("liveness", Verdict.FAILURE, ("Unhealthy", "Liveness probe failed: x")),
        ("startup", Verdict.FAILURE, ("Unhealthy", "Startup probe failed: x")),
        ("readiness", Verdict.WARNING, ("ProbeWarning", "Readiness probe warning: x")),
        ("readiness", Verdict.UNKNOWN, ("Unhealthy", "Readiness probe errored and resulted in unknown state: x")),
        ("readiness", Verdict.SUCCESS, None),
        ("readiness", Verdict.MOOT, None),
    ],
)
def test_events_read_as_in_kubernetes(kind: ProbeKind, verdict: Verdict, expected: tuple[str, str] | None) -> None:
    assert describe_outcome(kind, Outcome(verdict, "x")) == expected


@pytest.mark.parametrize("verdict", [Verdict.FAILURE, Verdict.UNKNOWN])
@pytest.mark.parametrize("is_ending", [False, True])
def test_failure_counts_only_while_the_container_lives(verdict: Verdict, is_ending: bool) -> None:
    outcome = Outcome(verdict, "write to sync socket: Broken pipe")
    assert compute_outcome(outcome, is_ending=is_ending) == (Outcome(Verdict.MOOT) if is_ending else outcome)
