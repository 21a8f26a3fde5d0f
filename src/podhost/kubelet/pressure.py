"""Watches memory, disk and process ids of the node, and evicts pods when there is too little (the kubelet's eviction
manager).

The kernel tells of memory that tasks have to wait for; that, and a look once a minute while there are pods or
pressure, have the thresholds checked.  When little is left, and under pressure, the look comes every ten seconds, as
the kubelet's.  What to do is decided in :mod:`podhost.kubelet.node_pressure`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from podhost.aiokit.tasks import Tasks
from podhost.cri.ids import PodUID
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.eviction_ranking import PodUse, build_eviction_text, compute_grace_s, rank_pods
from podhost.kubelet.eviction_thresholds import (
    ALLOCATABLE_MEMORY,
    DISK_PRESSURE,
    MEMORY,
    MEMORY_PRESSURE,
    PID_PRESSURE,
    RESOURCE_OF,
    Observation,
    Threshold,
    find_met,
)
from podhost.kubelet.image_gc import ImageReclaimer
from podhost.kubelet.node import build_node_reference, try_register_node
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.node_pressure import (
    PressureState,
    Reclaim,
    advance,
    choose_reclaims,
    compute_wait_s,
    find_rejection,
    is_critical,
)
from podhost.kubelet.node_signals import NodeLook, look_at_node
from podhost.kubelet.pod_usage import measure_uses
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.settings import KubeletSettings
from podhost.linux.memory_pressure import MemoryStallWatch

_log = logging.getLogger(__name__)

_FIRST_S = 1.0
"""A pod that comes after a quiet time is started first, then the node is looked at."""
_STOP_S, _LEAVE_S = 10.0, 30.0
"""How long the kubelet waits for an evicted pod beyond its grace period, and then for what it held."""
_CHANGES = {
    (MEMORY_PRESSURE, True): "NodeHasInsufficientMemory",
    (MEMORY_PRESSURE, False): "NodeHasSufficientMemory",
    (DISK_PRESSURE, True): "NodeHasDiskPressure",
    (DISK_PRESSURE, False): "NodeHasNoDiskPressure",
    (PID_PRESSURE, True): "NodeHasInsufficientPID",
    (PID_PRESSURE, False): "NodeHasSufficientPID",
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
        observe: Callable[[KubeletSettings], NodeLook] = look_at_node,
    ) -> None:
        self.observe = observe
        self._context = context
        self._workers = workers
        self._state = PressureState()
        self._wait_s = float("inf")
        self._looked_s = float("-inf")
        self._images = ImageReclaimer(context)
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None
        self._is_checking = False
        self._is_untold = False
        """The Node's conditions could not be written."""
        self._stall_watch = MemoryStallWatch(self._check_soon)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Idempotent."""
        signals = {each.signal for each in self._context.settings.eviction_thresholds}
        if signals & {MEMORY, ALLOCATABLE_MEMORY}:
            self._stall_watch.start()
        self._check_soon()

    def tell_later(self) -> None:
        """The Node could not be written: the next look has it written."""
        self._is_untold = True

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
        text = find_rejection(worker.document, self._context.pressure)
        if text is not None:
            worker.reject(text)

    def _arm(self) -> None:
        if self._timer is not None or self._is_checking:
            return
        if not self._state.conditions and not self._workers:
            return
        loop = asyncio.get_running_loop()
        interval_s = min(self._context.settings.housekeeping_interval_s, self._wait_s)
        wait_s = min(interval_s, max(_FIRST_S, self._looked_s + interval_s - loop.time()))
        self._timer = loop.call_later(wait_s, self._check_soon)

    def _check_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_checking:
            self._is_checking = True
            self._tasks.spawn(self._check(), name="node-pressure")

    async def _check(self) -> None:
        try:
            await self._keep_images_below_mark()
            while await self._synchronize():
                pass
        except (PodhostError, OSError, ValueError) as error:
            _log.warning("cannot look after memory, disk and process ids of the node: %s", describe_cause(error))
        finally:
            self._is_checking = False
        # The next look begins when this one has ended, however long it took.
        self._looked_s = asyncio.get_running_loop().time()
        self._arm()

    async def _keep_images_below_mark(self) -> None:
        try:
            await self._images.keep_below_mark()
        except (PodhostError, OSError) as error:
            _log.warning("cannot look after the images' disk: %s", describe_cause(error))

    # -- one look -------------------------------------------------------------------------------------------

    async def _synchronize(self) -> bool:
        """Whether a pod was evicted, so that it is worth looking again."""
        settings = self._context.settings
        thresholds = settings.eviction_thresholds
        if not thresholds:
            return False
        look, now_s = await self._look(), asyncio.get_running_loop().time()
        self._state = advance(self._state, thresholds, look.signals, now_s, settings.eviction_transition_s)
        self._wait_s = compute_wait_s(self._state, thresholds, look.signals, now_s, settings.housekeeping_interval_s)
        self._set_conditions(self._state.conditions)
        if not self._state.due:
            return False
        threshold = self._state.due[0]
        self._event("Warning", "EvictionThresholdMet", f"Attempting to reclaim {RESOURCE_OF[threshold.signal]}")
        if await self._reclaim(choose_reclaims(threshold.signal, has_image_fs=look.has_image_fs)):
            return False
        return await self._evict_one(threshold, look)

    async def _look(self) -> NodeLook:
        settings = self._context.settings
        look = await asyncio.to_thread(self.observe, settings)
        if not any(each.signal == ALLOCATABLE_MEMORY for each in settings.eviction_thresholds):
            return look
        stats = await self._context.runtime.list_container_stats(list(self._workers))
        used = sum(each.memory.working_set_bytes for each in stats if each.memory is not None)
        capacity = self._context.host.memory_bytes
        pods = Observation(max(0, capacity - used), capacity)
        return NodeLook({**look.signals, ALLOCATABLE_MEMORY: pods}, look.has_image_fs)

    def _set_conditions(self, conditions: frozenset[str]) -> None:
        context, before = self._context, self._context.pressure
        if conditions == before and not self._is_untold:
            return
        context.pressure = conditions
        # Pods are evicted whether or not the disk has room for saying so.
        self._is_untold = not try_register_node(context)
        for name in sorted(conditions ^ before):
            reason = _CHANGES[name, name in conditions]
            self._event("Normal", reason, f"Node {context.settings.node_name} status is now: {reason}")

    async def _reclaim(self, wanted: Iterable[Reclaim]) -> bool:
        """Whether the node's own waste was enough, so that no pod has to go."""
        wanted = tuple(wanted)
        if not wanted:
            return False
        for each in wanted:
            if each is Reclaim.DEAD_CONTAINERS:
                for worker in list(self._workers.values()):
                    await worker.remove_dead_containers()
            else:
                await self._images.remove_unused()
        look = await self._look()
        return not find_met(self._context.settings.eviction_thresholds, look.signals, with_reclaim=True)

    async def _evict_one(self, threshold: Threshold, look: NodeLook) -> bool:
        """One pod at a time: what it frees shows when it has left."""
        workers = {worker.uid: worker for worker in self._workers.values() if _may_go(worker)}
        uses = await measure_uses(self._context, threshold.signal, list(workers.values()), look)
        for use in rank_pods(RESOURCE_OF[threshold.signal], uses):
            worker = workers[PodUID(use.uid)]
            if worker.may_be_evicted:
                await self._evict(worker, use, threshold, look.signals[threshold.signal])
                return True
        return False

    async def _evict(self, worker: PodWorker, use: PodUse, threshold: Threshold, observed: Observation) -> None:
        text = build_eviction_text(threshold, observed, use)
        pod_grace_s = worker.pod.spec.termination_grace_period_seconds
        grace_s = compute_grace_s(
            threshold, self._context.settings.eviction_max_pod_grace_s, 30 if pod_grace_s is None else pod_grace_s
        )
        worker.evict(text.message, grace_s=grace_s, annotations=text.annotations, is_disruption=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s * 1.5 + _STOP_S + _LEAVE_S):
                await worker.wait_released()

    def _event(self, type_: Any, reason: str, message: str) -> None:
        self._context.recorder.event(build_node_reference(self._context), type_, reason, message)


def _may_go(worker: PodWorker) -> bool:
    return worker.may_be_evicted and not is_critical(worker.document)
