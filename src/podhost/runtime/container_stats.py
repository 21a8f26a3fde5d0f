"""ListContainerStats: what the cgroups of running containers say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from podhost.cri.ids import PodUID
from podhost.cri.runtime import ContainerState
from podhost.cri.stats import ContainerStats, CpuUsage, IoUsage, MemoryUsage
from podhost.linux.usage import CgroupUse, read_cgroup_use
from podhost.runtime.context import RuntimeContext
from podhost.runtime.records import ContainerRecord, compute_container_state


async def list_container_stats(ctx: RuntimeContext, pod_uids: Iterable[PodUID]) -> list[ContainerStats]:
    """Of the running containers of these pods, in no order."""
    wanted = [
        (entry.pod_uid, entry.record, entry.cgroup)
        for uid in pod_uids
        for entry in ctx.registry.containers(uid)
        if compute_container_state(entry.record) is ContainerState.RUNNING
    ]
    return await asyncio.to_thread(_read_all, wanted)


def _read_all(wanted: Iterable[tuple[PodUID, ContainerRecord, str]]) -> list[ContainerStats]:
    return [build_stats(uid, record, read_cgroup_use(path), time.monotonic_ns()) for uid, record, path in wanted]


def build_stats(uid: PodUID, record: ContainerRecord, use: CgroupUse, now_ns: int) -> ContainerStats:
    """In CRI's words."""
    io = use.io
    return ContainerStats(
        id=record.id,
        pod_uid=uid,
        name=record.config.name,
        started_at_ns=record.started_at_ns,
        cpu=build_cpu(use, now_ns),
        memory=build_memory(use),
        io=None if io is None else IoUsage(read_bytes=io.read_bytes, written_bytes=io.written_bytes),
        process_count=use.pids,
    )


def build_cpu(use: CgroupUse, now_ns: int) -> CpuUsage | None:
    return None if use.cpu_ns is None else CpuUsage(timestamp_ns=now_ns, usage_core_ns=use.cpu_ns)


def build_memory(use: CgroupUse) -> MemoryUsage | None:
    memory = use.memory
    if memory is None:
        return None
    return MemoryUsage(
        working_set_bytes=memory.working_set_bytes,
        usage_bytes=memory.usage_bytes,
        rss_bytes=memory.rss_bytes,
        page_faults=memory.page_faults,
        major_page_faults=memory.major_page_faults,
    )
