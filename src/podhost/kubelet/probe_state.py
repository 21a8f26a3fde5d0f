"""What a sequence of probe results means.  Pure; the kubelet's rules (pkg/kubelet/prober/worker.go)::

    startup    unknown ──successes──▶ success (never probed again)
               unknown ──failures───▶ failure (on hold: the container will be killed)
    liveness   success ──failures───▶ failure (on hold)
    readiness  failure ◀──thresholds──▶ success

A state belongs to one container id: the next container begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from podhost.api import models

ProbeKind = Literal["startup", "liveness", "readiness"]
PROBE_KINDS: tuple[ProbeKind, ...] = ("startup", "liveness", "readiness")

_TITLES: dict[ProbeKind, str] = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}


class Verdict(Enum):
    """What one run of a probe says."""

    SUCCESS = "success"
    WARNING = "warning"
    """Counts as success, and is told."""
    FAILURE = "failure"
    UNKNOWN = "unknown"
    """It could not be run: says nothing about the container."""
    MOOT = "moot"
    """It failed because the container was ending: neither counted nor told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a probe, and what it had to say."""

    verdict: Verdict
    text: str = ""


class Result(Enum):
    """What the kubelet believes."""

    UNKNOWN = "unknown"
    SUCCESS = "success"
    FAILURE = "failure"


_INITIAL: dict[ProbeKind, Result] = {
    "startup": Result.UNKNOWN,
    "liveness": Result.SUCCESS,
    "readiness": Result.FAILURE,
}


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Thresholds and times of one probe; delays are scaled already, the timeout never is."""

    kind: ProbeKind
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What is believed, and the run of equal results that may change it."""

    result: Result
    last: Result = Result.SUCCESS
    run: int = 0
    on_hold: bool = False
    """It has failed for good: nothing more is asked of this container."""


def build_settings(kind: ProbeKind, probe: models.Probe, time_scale: float) -> ProbeSettings:
    """Settings from the API's probe, whose defaults the API server has filled in."""
    return ProbeSettings(
        kind,
        initial_delay_s=(probe.initial_delay_seconds or 0) * time_scale,
        period_s=(probe.period_seconds or 10) * time_scale,
        timeout_s=float(probe.timeout_seconds or 1),
        success_threshold=probe.success_threshold or 1,
        failure_threshold=probe.failure_threshold or 3,
    )


def build_initial_state(kind: ProbeKind) -> ProbeState:
    """What is believed before the first result."""
    return ProbeState(_INITIAL[kind])


def compute_outcome(outcome: Outcome, *, is_ending: bool) -> Outcome:
    """What a run is worth, given whether its container had ended or was being killed when it ended.

    Then a command was killed along with it, or there was nothing left to run it in.  What a container does
    during its grace period counts: readiness is asked until the end.
    """
    return Outcome(Verdict.MOOT) if is_ending else outcome


def compute_next_state(state: ProbeState, settings: ProbeSettings, verdict: Verdict) -> ProbeState:
    """What is believed after one more result."""
    if verdict in (Verdict.UNKNOWN, Verdict.MOOT) or state.on_hold:
        return state
    result = Result.FAILURE if verdict is Verdict.FAILURE else Result.SUCCESS
    run = state.run + 1 if state.last is result else 1
    counted = replace(state, last=result, run=run)
    threshold = settings.failure_threshold if result is Result.FAILURE else settings.success_threshold
    if run < threshold:
        return counted
    fails = result is Result.FAILURE and settings.kind != "readiness"
    return replace(counted, result=result, on_hold=fails, run=0 if fails else run)


def describe_outcome(kind: ProbeKind, outcome: Outcome) -> tuple[str, str] | None:
    """(reason, message) of the event about one run; ``None`` when all is well."""
    title = _TITLES[kind]
    match outcome.verdict:
        case Verdict.FAILURE:
            return "Unhealthy", f"{title} probe failed: {outcome.text}"
        case Verdict.WARNING:
            return "ProbeWarning", f"{title} probe warning: {outcome.text}"
        case Verdict.UNKNOWN:
            return "Unhealthy", f"{title} probe errored and resulted in unknown state: {outcome.text}"
        case _:
            return None
