"""ListPodSandboxStats: what the cgroups and network namespaces of pods say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.measured import build_cpu, build_interface, build_memory
from podhost.cri.runtime import ContainerState
from podhost.cri.stats import PodSandboxStats
from podhost.linux.interface_counters import InterfaceCounters, read_interface_counters
from podhost.linux.pidfd import ProcessId, identify
from podhost.runtime.context import RuntimeContext
from podhost.runtime.members import read_pod_use
from podhost.runtime.records import compute_container_state
from podhost.runtime.settings import RuntimePaths


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a pod's numbers are; ``process`` is one in its own network."""

    uid: PodUID
    created_at_ns: int
    cgroup: str
    containers: tuple[ContainerId, ...]
    process: ProcessId | None


async def list_pod_sandbox_stats(ctx: RuntimeContext, pod_uids: Iterable[PodUID]) -> list[PodSandboxStats]:
    """Of those of these pods that have a running container, in no order."""
    places = [place for uid in pod_uids if (place := _find_place(ctx, uid)) is not None]
    return await asyncio.to_thread(lambda: [_read(ctx.paths, place) for place in places])


def _find_place(ctx: RuntimeContext, uid: PodUID) -> _Place | None:
    for entry in ctx.registry.containers(uid):
        record = entry.record
        if compute_container_state(record) is ContainerState.RUNNING and record.process is not None:
            sandbox = ctx.registry.find_sandbox(record.sandbox_id)
            if sandbox is None:
                continue
            process = None if sandbox.record.config.host_network else record.process
            containers = tuple(each.record.id for each in ctx.registry.containers(uid))
            return _Place(uid, sandbox.record.created_at_ns, entry.cgroup.rpartition("/")[0], containers, process)
    return None


def _read(paths: RuntimePaths, place: _Place) -> PodSandboxStats:
    use, now_ns = read_pod_use(paths, place.cgroup, place.containers), time.monotonic_ns()
    return PodSandboxStats(
        pod_uid=place.uid,
        created_at_ns=place.created_at_ns,
        cpu=build_cpu(use, now_ns),
        memory=build_memory(use.memory),
        process_count=use.pids,
        interfaces=tuple(map(build_interface, _read_network(place.process))),
    )


def _read_network(process: ProcessId | None) -> list[InterfaceCounters]:
    if process is None:
        return []
    counters = read_interface_counters(Path("/proc", str(process.pid), "net/dev"))
    # If the number still names the same process now, it did when they were read.
    return counters if identify(process.pid) == process else []
