"""Rates out of two samples: which earlier sample a new one is compared with.  Pure.

Samples are kept for a minute after somebody has looked, so that looking again is immediate; older ones would give
an average of what nobody asks about.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from podhost.cri.stats import ContainerStats, Rates

WINDOW_S = 1.0
"""Shorter windows would show the kernel's own granularity."""
MAX_AGE_S = 60.0
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at a moment of the monotonic clock."""

    at_ns: int
    cpu_ns: int
    read_bytes: int = 0
    written_bytes: int = 0


class UsageWindows:
    """Samples of the last minute, by what was measured."""

    def __init__(self) -> None:
        self._samples: defaultdict[Hashable, deque[Sample]] = defaultdict(deque)

    def add(self, subject: Hashable, sample: Sample) -> None:
        self._samples[subject].append(sample)

    def find_start(self, subject: Hashable, now_ns: int) -> Sample | None:
        """The latest sample that is a window old or older; ``None`` when there is none of use."""
        found = None
        for sample in self._samples.get(subject, ()):
            age_ns = now_ns - sample.at_ns
            if WINDOW_S * _NS_PER_S <= age_ns <= MAX_AGE_S * _NS_PER_S:
                found = sample
        return found

    def forget_old(self, now_ns: int) -> None:
        """Drop what :meth:`find_start` would never return again."""
        for subject, samples in list(self._samples.items()):
            while samples and now_ns - samples[0].at_ns > MAX_AGE_S * _NS_PER_S:
                samples.popleft()
            # Of samples within one window only the first is ever wanted: many may be watching.
            while len(samples) > 2 and samples[-1].at_ns - samples[-3].at_ns < WINDOW_S * _NS_PER_S:
                del samples[-2]
            if not samples:
                del self._samples[subject]


def build_sample(stats: ContainerStats) -> Sample | None:
    """``None``: the host does not count processor time."""
    if stats.cpu is None:
        return None
    read, written = (stats.io.read_bytes, stats.io.written_bytes) if stats.io else (0, 0)
    return Sample(stats.cpu.timestamp_ns, stats.cpu.usage_core_ns, read, written)


def build_birth(stats: ContainerStats, sample: Sample, wall_now_ns: int) -> Sample | None:
    """A container's start is a sample of zeros, when it was long enough ago and not too long."""
    age_ns = wall_now_ns - stats.started_at_ns
    if WINDOW_S * _NS_PER_S <= age_ns <= MAX_AGE_S * _NS_PER_S:
        return Sample(sample.at_ns - age_ns, 0)
    return None


def compute_rates(start: Sample, end: Sample) -> Rates:
    """Averages between two samples; counters that went back count as nothing."""
    elapsed_s = max(end.at_ns - start.at_ns, 1) / _NS_PER_S
    return Rates(
        window_s=elapsed_s,
        nano_cores=round(max(0, end.cpu_ns - start.cpu_ns) / elapsed_s),
        read_bytes_per_s=max(0, end.read_bytes - start.read_bytes) / elapsed_s,
        written_bytes_per_s=max(0, end.written_bytes - start.written_bytes) / elapsed_s,
    )
