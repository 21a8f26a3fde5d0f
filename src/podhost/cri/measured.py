"""What the kernel counts, in CRI's words."""

from __future__ import annotations

from podhost.cri.stats import CpuUsage, InterfaceStats, IoUsage, MemoryUsage
from podhost.linux.interface_counters import InterfaceCounters
from podhost.linux.usage import CgroupUse, IoUse, MemoryUse


def build_cpu(use: CgroupUse, now_ns: int) -> CpuUsage | None:
    """``now_ns``: of the monotonic clock, when ``use`` was read."""
    return None if use.cpu_ns is None else CpuUsage(timestamp_ns=now_ns, usage_core_ns=use.cpu_ns)


def build_memory(memory: MemoryUse | None) -> MemoryUsage | None:
    if memory is None:
        return None
    return MemoryUsage(
        working_set_bytes=memory.working_set_bytes,
        usage_bytes=memory.usage_bytes,
        rss_bytes=memory.rss_bytes,
        page_faults=memory.page_faults,
        major_page_faults=memory.major_page_faults,
    )


def build_io(io: IoUse | None) -> IoUsage | None:
    return None if io is None else IoUsage(read_bytes=io.read_bytes, written_bytes=io.written_bytes)


def build_interface(counters: InterfaceCounters) -> InterfaceStats:
    return InterfaceStats(
        name=counters.name,
        rx_bytes=counters.received_bytes,
        rx_errors=counters.receive_errors,
        tx_bytes=counters.sent_bytes,
        tx_errors=counters.send_errors,
    )
