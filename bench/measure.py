"""Shared by the measurements: wall and CPU time, memory, medians."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def median_ms(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1e3:7.1f} ms (min {ordered[0] * 1e3:.1f}, max {ordered[-1] * 1e3:.1f})"


def machine_cpu_s() -> float:
    """CPU seconds that the whole machine has spent working.

    The monitors leave the daemon's process tree, so on an otherwise idle machine the total is the only figure
    that misses nothing; whatever else runs is counted too, against us.
    """
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / TICKS


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_kib(pids: Sequence[int]) -> int:
    """Proportional set size of these processes."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total


def pss_by_kind_kib(pid: int) -> dict[str, int]:
    """Proportional set size of a process: its heap (blocks of more than 512 bytes), other anonymous memory (Python's
    objects, stacks of threads), and what is mapped from files (libraries).
    """
    kinds = {"heap": 0, "objects": 0, "files": 0}
    kind = "files"
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if not word.endswith(":"):
            name = rest.split(maxsplit=4)[4:]
            kind = "objects" if not name else {"[heap]": "heap", "[stack]": "objects"}.get(name[0], "files")
        elif word == "Pss:":
            kinds[kind] += int(rest.split()[0])
    return kinds
