"""ListContainerStats: what the cgroups of running containers say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from podhost.cri.ids import PodUID
from podhost.cri.measured import build_cpu, build_io, build_memory
from podhost.cri.runtime import ContainerState
from podhost.cri.stats import ContainerStats
from podhost.linux.usage import CgroupUse
from podhost.runtime.context import RuntimeContext
from podhost.runtime.members import read_member_use
from podhost.runtime.records import ContainerRecord, compute_container_state
from podhost.runtime.settings import RuntimePaths


async def list_container_stats(ctx: RuntimeContext, pod_uids: Iterable[PodUID]) -> list[ContainerStats]:
    """Of the running containers of these pods, in no order."""
    wanted = [
        (entry.pod_uid, entry.record, entry.cgroup)
        for uid in pod_uids
        for entry in ctx.registry.containers(uid)
        if compute_container_state(entry.record) is ContainerState.RUNNING
    ]
    return await asyncio.to_thread(_read_all, ctx.paths, wanted)


def _read_all(paths: RuntimePaths, wanted: Sequence[tuple[PodUID, ContainerRecord, str]]) -> list[ContainerStats]:
    uses = read_member_use(paths, [(record.id, path) for _, record, path in wanted])
    return [build_stats(uid, record, *use) for (uid, record, _), use in zip(wanted, uses, strict=True)]


def build_stats(uid: PodUID, record: ContainerRecord, use: CgroupUse, now_ns: int) -> ContainerStats:
    """In CRI's words."""
    return ContainerStats(
        id=record.id,
        pod_uid=uid,
        name=record.config.name,
        started_at_ns=record.started_at_ns,
        cpu=build_cpu(use, now_ns),
        memory=build_memory(use.memory),
        io=build_io(use.io),
        process_count=use.pids,
    )
