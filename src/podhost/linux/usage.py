"""What cgroups, and the whole machine, have used: counters and sizes, as of now.

Blocking, about 0.1 ms a cgroup.  A value whose controller the host does not give is ``None``.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from podhost.linux.cgroup import CgroupLayout, detect

_CPU_FIELDS, _THREADS_FIELD = slice(11, 15), 17
"""Own and reaped children's time in user and kernel mode, and threads, in /proc/PID/stat behind the command."""
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Sizes in bytes; faults since the cgroup was made."""

    usage_bytes: int
    inactive_file_bytes: int
    """Page cache that the kernel would give up first."""
    rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0

    @property
    def working_set_bytes(self) -> int:
        """What cannot be taken away easily, as cAdvisor and the kubelet count it."""
        return max(0, self.usage_bytes - self.inactive_file_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class IoUse:
    """Bytes that went to and came from block devices."""

    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupUse:
    """One cgroup with all below it."""

    cpu_ns: int | None = None
    memory: MemoryUse | None = None
    io: IoUse | None = None
    pids: int | None = None
    """Tasks: processes and their threads."""


def read_cgroup_use(path: str, layout: CgroupLayout | None = None) -> CgroupUse:
    """Use of the cgroup; nothing but ``None`` when it is gone."""
    layout = layout or detect()
    return _read_v2(layout, path) if layout.version == 2 else _read_v1(layout, path)


def _read_v2(layout: CgroupLayout, path: str) -> CgroupUse:
    directory = layout.directories(path)[0]
    cpu = _read_counters(directory / "cpu.stat").get("usage_usec")
    devices = _read_lines(directory / "io.stat")
    return CgroupUse(
        cpu_ns=None if cpu is None else cpu * 1000,
        memory=_build_memory(
            _read_number(directory / "memory.current"), _read_counters(directory / "memory.stat"), ("anon", "")
        ),
        io=_read_process_io(directory) if devices is None else parse_io_stat(devices),
        pids=_read_number(directory / "pids.current"),
    )


def _read_v1(layout: CgroupLayout, path: str) -> CgroupUse:
    def place(controller: str, name: str) -> Path | None:
        directory = layout.directory(controller, path)
        return None if directory is None else directory / name

    return CgroupUse(
        cpu_ns=_read_number(place("cpuacct", "cpuacct.usage")),
        memory=_build_memory(
            _read_number(place("memory", "memory.usage_in_bytes")),
            _read_counters(place("memory", "memory.stat")),
            ("total_rss", "total_"),
        ),
        io=_read_process_io(place("pids", "") or place("memory", "")),
        pids=_read_number(place("pids", "pids.current")),
    )


def _build_memory(usage: int | None, stat: Mapping[str, int], words: tuple[str, str]) -> MemoryUse | None:
    """``words``: the counter of anonymous memory, and what stands before those of the subtree."""
    if usage is None:
        return None
    rss, prefix = words
    return MemoryUse(
        usage_bytes=usage,
        inactive_file_bytes=stat.get(f"{prefix}inactive_file", 0),
        rss_bytes=stat.get(rss, 0),
        page_faults=stat.get(f"{prefix}pgfault", 0),
        major_page_faults=stat.get(f"{prefix}pgmajfault", 0),
    )


def parse_io_stat(lines: Iterable[str]) -> IoUse:
    """Version 2: ``8:0 rbytes=1 wbytes=2 rios=…``, a line a device."""
    totals = {"rbytes": 0, "wbytes": 0}
    for line in lines:
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            if name in totals and value.isdigit():
                totals[name] += int(value)
    return IoUse(read_bytes=totals["rbytes"], written_bytes=totals["wbytes"])


def _read_process_io(directory: Path | None) -> IoUse | None:
    """The sum over the processes in the cgroup and below; ``None`` when no process may be looked at.

    Version 1 counts nothing in a cgroup without limits of block I/O, and buffered writes never.  A process carries
    what its children have done once it has reaped them, so only what ``exec`` started is lost with its exit.
    """
    if directory is None:
        return None
    return _sum_io(pid for place, _, _ in os.walk(directory) for pid in _read_lines(Path(place, "cgroup.procs")) or ())


def _sum_io(pids: Iterable[int | str]) -> IoUse | None:
    found = None
    for pid in pids:
        counters = _read_counters(Path("/proc", str(pid), "io"))
        if "read_bytes:" in counters:
            written = counters["write_bytes:"] - counters["cancelled_write_bytes:"]
            before = found or IoUse(read_bytes=0, written_bytes=0)
            found = IoUse(
                read_bytes=before.read_bytes + counters["read_bytes:"],
                written_bytes=before.written_bytes + max(0, written),
            )
    return found


def read_process_use(pids: Collection[int]) -> CgroupUse:
    """The sum over some processes, and what of their children they have reaped; shared pages count for each."""
    ticks, tasks, pages, anonymous = 0, 0, 0, 0
    for pid in pids:
        try:
            line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            continue
        fields = line[line.rindex(")") + 2 :].split()
        ticks += sum(map(int, fields[_CPU_FIELDS]))
        tasks += int(fields[_THREADS_FIELD])
        status = _read_counters(Path(f"/proc/{pid}/status"))
        pages, anonymous = pages + status.get("VmRSS:", 0), anonymous + status.get("RssAnon:", 0)
    memory = MemoryUse(usage_bytes=pages * 1024, inactive_file_bytes=0, rss_bytes=anonymous * 1024)
    return CgroupUse(cpu_ns=ticks * _NS_PER_TICK, memory=memory, io=_sum_io(pids), pids=tasks)


def read_machine_use() -> CgroupUse:
    """The whole machine.  Raises OSError where ``/proc`` is not mounted."""
    memory = _read_counters(Path("/proc/meminfo"))
    total, free = memory.get("MemTotal:", 0), memory.get("MemFree:", 0)
    faults = _read_counters(Path("/proc/vmstat"))
    return CgroupUse(
        cpu_ns=parse_machine_cpu(Path("/proc/stat").read_text()),
        memory=MemoryUse(
            usage_bytes=(total - free) * 1024,
            inactive_file_bytes=memory.get("Inactive(file):", 0) * 1024,
            rss_bytes=memory.get("AnonPages:", 0) * 1024,
            page_faults=faults.get("pgfault", 0),
            major_page_faults=faults.get("pgmajfault", 0),
        ),
    )


def read_swap() -> tuple[int, int]:
    """Bytes of swap that are left, and that are used.  Both 0 where there is none."""
    memory = _read_counters(Path("/proc/meminfo"))
    total, free = memory.get("SwapTotal:", 0) * 1024, memory.get("SwapFree:", 0) * 1024
    return free, total - free


def read_own_use() -> CgroupUse:
    """This process alone, its children not."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    status = _read_counters(Path("/proc/self/status"))
    size, own = status.get("VmRSS:", 0) * 1024, status.get("RssAnon:", 0) * 1024
    return CgroupUse(
        cpu_ns=time.process_time_ns(),
        memory=MemoryUse(
            usage_bytes=size,
            inactive_file_bytes=0,
            rss_bytes=own,
            page_faults=usage.ru_minflt,
            major_page_faults=usage.ru_majflt,
        ),
    )


def parse_machine_cpu(text: str) -> int:
    """Nanoseconds that all processors were busy: user, nice, system, irq, softirq (guests are in user)."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, text.split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) * _NS_PER_TICK


def _read_lines(file: Path | None) -> list[str] | None:
    try:
        return None if file is None else file.read_text().splitlines()
    except OSError:
        return None


def _read_number(file: Path | None) -> int | None:
    lines = _read_lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _read_counters(file: Path | None) -> dict[str, int]:
    """``name value [unit]`` a line."""
    pairs = (line.split() for line in _read_lines(file) or ())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) >= 2 and pair[1].isdigit()}
