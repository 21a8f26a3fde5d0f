"""UsageApi on the runtime and the kernel: samples are taken when somebody asks, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.objects import all_containers, read_pod_uid
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.measured import build_memory
from podhost.cri.runtime import RuntimeService
from podhost.cri.stats import ContainerStats, ContainerUsage, MemoryUsage, NodeUsage, Rates
from podhost.kubelet.usage_window import WINDOW_S, Sample, UsageWindows, build_birth, build_sample, compute_rates
from podhost.linux.usage import CgroupUse, read_machine_use

_NODE = "node"


class UsageObserver:
    """Implements :class:`podhost.cri.stats.UsageApi`."""

    def __init__(
        self, runtime: RuntimeService, clock: Clock, read_machine: Callable[[], CgroupUse] = read_machine_use
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._read_machine = read_machine
        self._windows = UsageWindows()

    async def observe_pods(self, pods: Sequence[Mapping[str, Any]]) -> dict[PodUID, tuple[ContainerUsage, ...]]:
        """See :class:`podhost.cri.stats.UsageApi`."""
        uids = [PodUID(read_pod_uid(pod)) for pod in pods]
        stats = await self._runtime.list_container_stats(uids)
        starts = {each.id: self._find_start(each) for each in stats}
        unknown = sorted({each.pod_uid for each in stats if starts[each.id] is None and each.cpu is not None})
        self._keep(stats)
        if unknown:
            await asyncio.sleep(WINDOW_S)
            again = await self._runtime.list_container_stats(unknown)
            first = {each.id: build_sample(each) for each in stats}
            for each in again:
                starts[each.id] = starts.get(each.id) or first.get(each.id)
            self._keep(again)
            stats = [*(each for each in stats if each.pod_uid not in unknown), *again]
        return {uid: _order(pod, _of_pod(uid, stats, starts)) for uid, pod in zip(uids, pods, strict=True)}

    async def observe_node(self) -> NodeUsage:
        """See :class:`podhost.cri.stats.UsageApi`."""
        use, now = await asyncio.to_thread(self._sample_machine)
        start = self._windows.find_start(_NODE, now.at_ns)
        self._windows.add(_NODE, now)
        if start is None:
            await asyncio.sleep(WINDOW_S)
            start = now
            use, now = await asyncio.to_thread(self._sample_machine)
            self._windows.add(_NODE, now)
        self._windows.forget_old(now.at_ns)
        rates = compute_rates(start, now)
        return NodeUsage(
            timestamp_ns=self._clock.now_ns(),
            window_s=rates.window_s,
            nano_cores=rates.nano_cores,
            memory=build_memory(use.memory) or MemoryUsage(working_set_bytes=0, usage_bytes=0),
            usage_core_ns=use.cpu_ns or 0,
        )

    def _sample_machine(self) -> tuple[CgroupUse, Sample]:
        use = self._read_machine()
        return use, Sample(time.monotonic_ns(), use.cpu_ns or 0)

    def _find_start(self, stats: ContainerStats) -> Sample | None:
        sample = build_sample(stats)
        if sample is None:
            return None
        earlier = self._windows.find_start(stats.id, sample.at_ns)
        return earlier or build_birth(stats, sample, self._clock.now_ns())

    def _keep(self, stats: Sequence[ContainerStats]) -> None:
        for each in stats:
            sample = build_sample(each)
            if sample is not None:
                self._windows.add(each.id, sample)
                self._windows.forget_old(sample.at_ns)


def _of_pod(
    uid: PodUID, stats: Sequence[ContainerStats], starts: Mapping[ContainerId, Sample | None]
) -> list[ContainerUsage]:
    return [
        ContainerUsage(stats=each, rates=_rates(starts.get(each.id), build_sample(each)))
        for each in stats
        if each.pod_uid == uid
    ]


def _rates(start: Sample | None, end: Sample | None) -> Rates | None:
    return None if start is None or end is None else compute_rates(start, end)


def _order(pod: Mapping[str, Any], usages: Sequence[ContainerUsage]) -> tuple[ContainerUsage, ...]:
    names = [container["name"] for _, _, container in all_containers(pod.get("spec") or {})]
    return tuple(sorted((each for each in usages if each.stats.name in names), key=lambda u: names.index(u.stats.name)))
