"""Watches memory and disk of the node, and evicts pods when there is too little (the kubelet's eviction manager).

The kernel tells of memory that tasks have to wait for; that, and the once-a-minute look while there are pods or
pressure, have the thresholds checked.  Under pressure the look comes every ten seconds, as the kubelet's.
What to do is decided in :mod:`podhost.kubelet.node_pressure`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from podhost.aiokit.tasks import Tasks
from podhost.api import models
from podhost.api.objects import is_static_pod
from podhost.api.pod_requests import sum_requests
from podhost.api.quantity import quantity_to_int
from podhost.cri.ids import PodUID
from podhost.cri.runtime import ContainerState
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.eviction import measure_storage
from podhost.kubelet.image_gc import ImageReclaimer
from podhost.kubelet.node import build_node_reference, register_node
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.node_pressure import (
    DISK,
    DISK_PRESSURE,
    MEMORY,
    MEMORY_PRESSURE,
    RESOURCE_OF,
    ContainerUse,
    Observation,
    Observations,
    PodUse,
    Threshold,
    find_met,
    find_rejection,
    format_eviction,
    is_critical,
    rank_pods,
    update_conditions,
)
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.settings import KubeletSettings
from podhost.linux.fs import find_existing
from podhost.linux.memory_pressure import MemoryStallWatch, read_available_bytes

_log = logging.getLogger(__name__)

UNDER_PRESSURE_INTERVAL_S = 10.0
_LEAVE_S = 30.0
"""How long an evicted pod may take to leave before the next one has to go."""
_CHANGES = {
    (MEMORY_PRESSURE, True): "NodeHasInsufficientMemory",
    (MEMORY_PRESSURE, False): "NodeHasSufficientMemory",
    (DISK_PRESSURE, True): "NodeHasDiskPressure",
    (DISK_PRESSURE, False): "NodeHasNoDiskPressure",
}


def read_observations(settings: KubeletSettings) -> Observations:
    """Memory of the machine, and the file system of pods' writable layers, logs and volumes.  Blocking."""
    available, total = read_available_bytes()
    disk = os.statvfs(find_existing(settings.state_dir))
    return {
        MEMORY: Observation(available, total),
        DISK: Observation(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize),
    }


class NodePressure:
    """Node conditions, evictions and the refusal of pods, of one kubelet.

    Args:
        context: Its ``pressure`` is set here.
        workers: The kubelet's pods.
        observe: Blocking; what is left.
    """

    def __init__(
        self,
        context: NodeContext,
        workers: Mapping[PodUID, PodWorker],
        observe: Callable[[KubeletSettings], Observations] = read_observations,
    ) -> None:
        self.observe = observe
        self._context = context
        self._workers = workers
        self._last_met_s: dict[str, float] = {}
        self._images = ImageReclaimer(context)
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None
        self._is_checking = False
        self._leaving: tuple[PodUID, float] | None = None
        """The pod evicted last, and until when it is waited for."""
        self._stall_watch = MemoryStallWatch(self._check_soon)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Idempotent."""
        if any(each.signal == MEMORY for each in self._context.settings.eviction_hard):
            self._stall_watch.start()
        self._arm()

    async def stop(self) -> None:
        """Idempotent."""
        self._stall_watch.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.cancel_all()
        self._is_checking = False

    def on_admitted(self, worker: PodWorker) -> None:
        """A pod has come: turn it away when there is no room for it."""
        self._arm()
        if not worker.is_new:
            return
        document = worker.document
        text = find_rejection(document, self._context.pressure, is_static=is_static_pod(document))
        if text is not None:
            worker.reject(text)

    def _arm(self) -> None:
        settings = self._context.settings
        if self._timer is not None or self._is_checking:
            return
        if not self._last_met_s and not self._workers:
            return
        wait_s = settings.housekeeping_interval_s
        if self._last_met_s:
            wait_s = min(wait_s, UNDER_PRESSURE_INTERVAL_S)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._check_soon)

    def _check_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_checking:
            self._is_checking = True
            self._tasks.spawn(self._check(), name="node-pressure")

    async def _check(self) -> None:
        try:
            await self._images.keep_below_mark()
            if self._context.settings.eviction_hard:
                await self._synchronize()
        except (PodhostError, OSError, ValueError) as error:
            _log.warning("cannot look after memory and disk of the node: %s", describe_cause(error))
        finally:
            self._is_checking = False
        # The next look begins when this one has ended, however long it took.
        self._arm()

    # -- one look -------------------------------------------------------------------------------------------

    async def _synchronize(self) -> None:
        settings = self._context.settings
        observed = await asyncio.to_thread(self.observe, settings)
        met = find_met(settings.eviction_hard, observed)
        now_s, transition_s = asyncio.get_running_loop().time(), settings.eviction_transition_s
        self._last_met_s = update_conditions(self._last_met_s, met, now_s, transition_s)
        self._set_conditions(frozenset(self._last_met_s))
        if not met or self._is_leaving(now_s):
            return
        threshold = met[0]
        text = f"Attempting to reclaim {RESOURCE_OF[threshold.signal]}"
        self._event("Warning", "EvictionThresholdMet", text)
        if threshold.signal == DISK:
            for worker in list(self._workers.values()):
                await worker.remove_dead_containers()
            await self._images.remove_unused()
            observed = await asyncio.to_thread(self.observe, settings)
            if not find_met([threshold], observed):
                return
        await self._evict_one(threshold, observed[threshold.signal])

    def _is_leaving(self, now_s: float) -> bool:
        """What the last evicted pod frees is not to be seen yet."""
        if self._leaving is None or now_s >= self._leaving[1]:
            return False
        containers = self._context.runtime.list_containers(self._leaving[0])
        return any(each.state is ContainerState.RUNNING for each in containers)

    def _set_conditions(self, conditions: frozenset[str]) -> None:
        context, before = self._context, self._context.pressure
        if conditions == before:
            return
        context.pressure = conditions
        register_node(context)
        for name in sorted(conditions ^ before):
            reason = _CHANGES[name, name in conditions]
            self._event("Normal", reason, f"Node {context.settings.node_name} status is now: {reason}")

    async def _evict_one(self, threshold: Threshold, observed: Observation) -> None:
        """One pod at a look: what it frees shows at the next."""
        workers = {worker.uid: worker for worker in self._workers.values() if _may_go(worker)}
        uses = await self._measure(threshold.signal, list(workers.values()))
        for use in rank_pods(uses):
            worker = workers[PodUID(use.uid)]
            if worker.may_be_evicted:
                self._leaving = worker.uid, asyncio.get_running_loop().time() + _LEAVE_S
                worker.evict(format_eviction(threshold, observed, use.containers), is_disruption=True)
                return

    async def _measure(self, signal: str, workers: list[PodWorker]) -> list[PodUse]:
        if signal == MEMORY:
            used: dict[PodUID, dict[str, int]] = {worker.uid: {} for worker in workers}
            for each in await self._context.runtime.list_container_stats(list(used)):
                if each.memory is not None:
                    used[each.pod_uid][each.name] = each.memory.working_set_bytes
            return [_build_use(worker, RESOURCE_OF[MEMORY], used[worker.uid]) for worker in workers]
        found = []
        for worker in workers:
            by_container, volumes_bytes = await measure_storage(self._context, worker)
            found.append(_build_use(worker, RESOURCE_OF[DISK], by_container, volumes_bytes))
        return found

    def _event(self, type_: Any, reason: str, message: str) -> None:
        self._context.recorder.event(build_node_reference(self._context), type_, reason, message)


def _may_go(worker: PodWorker) -> bool:
    return worker.may_be_evicted and not is_critical(worker.document, is_static=is_static_pod(worker.document))


def _build_use(worker: PodWorker, resource: str, used: Mapping[str, int], more: int = 0) -> PodUse:
    pod = worker.pod
    containers = tuple(
        ContainerUse(each.name, used[each.name], _request(each, resource))
        for each in (*pod.spec.init_containers, *pod.spec.containers)
        if each.name in used
    )
    total = sum(used.values()) + more if used or more else None
    request = int(sum_requests(worker.document.get("spec") or {}).get(resource, 0))
    return PodUse(worker.uid, int(pod.spec.priority or 0), total, request, containers)


def _request(container: models.Container, resource: str) -> int:
    requests = container.resources.requests if container.resources else {}
    return quantity_to_int(requests[resource]) if resource in requests else 0
