"""The in-place resize of one pod: decides by :mod:`podhost.kubelet.resize`, tells, writes cgroups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api import models
from podhost.api.time import format_time
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.runtime import ContainerState
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.node_context import Document, NodeContext
from podhost.kubelet.pod_conditions import RESIZE_IN_PROGRESS, RESIZE_PENDING
from podhost.kubelet.resize import (
    Allocation,
    ContainerUpdate,
    Pending,
    allocation_of,
    compute_pod_steps,
    compute_updates,
    find_obstacle,
    format_resize_event,
    is_same,
    read_allocation,
    with_allocation,
)
from podhost.kubelet.runtime_status import PodRuntimeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeView:
    """What the status says of a resize."""

    unapplied: frozenset[str] = frozenset()
    """Containers whose limits are not yet those that were allocated."""
    conditions: tuple[Mapping[str, Any], ...] = ()


class PodResizer:
    """Kept with a pod's worker."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._allocation: Allocation | None = None
        self._is_forgotten = False
        self._generation = 0
        self._in_progress = False
        self._error = ""
        self._restarting: set[str] = set()
        self._since = {RESIZE_PENDING: "", RESIZE_IN_PROGRESS: ""}
        self.pending: Pending | None = None

    def allocate(self, document: Document, desired: models.Pod) -> models.Pod:
        """The pod with what it is given of what it wants."""
        wanted = allocation_of(desired)
        before = self._allocation
        if self._allocation is None:
            self._allocation = read_allocation(desired, document.get("status") or {})
        if not is_same(wanted, self._allocation):
            self._on_change(document, desired, wanted)
        else:
            self._allocation, self.pending = wanted, None
        allocated = with_allocation(desired, self._allocation)
        if not self._is_forgotten:
            self._context.allocated[PodUID(desired.metadata.uid)] = allocated
        if before is None or not is_same(before, self._allocation):
            self._context.qos.on_allocated(allocated)
        return allocated

    def forget(self, uid: PodUID) -> None:
        """The pod uses nothing any more, and never will."""
        self._is_forgotten = True
        self._context.allocated.pop(uid, None)
        self._context.user_namespaces.pop(uid, None)
        self._context.qos.on_gone(uid)

    def _on_change(self, document: Document, desired: models.Pod, wanted: Allocation) -> None:
        uid, host = PodUID(desired.metadata.uid), self._context.host
        others = [pod for other, pod in self._context.allocated.items() if other != uid]
        obstacle = find_obstacle(desired, others, cpu_millis=host.cpu_millis, memory_bytes=host.memory_bytes)
        self._generation = desired.metadata.generation or 0
        event = self._context.recorder.event
        if obstacle is None:
            self._allocation, self.pending, self._in_progress, self._error = wanted, None, True, ""
            self._since[RESIZE_IN_PROGRESS] = self._now()
            event(document, "Normal", "ResizeStarted", format_resize_event("Pod resize started", desired))
            return
        if self.pending != obstacle:
            self._since[RESIZE_PENDING] = self._now()
            text = format_resize_event(f"Pod resize {obstacle.reason}", desired, error=obstacle.message)
            event(document, "Warning", f"Resize{obstacle.reason}", text)
        self.pending = obstacle

    # -- the pass -------------------------------------------------------------------------------------------

    def compute_updates(self, pod: models.Pod, observed: PodRuntimeStatus) -> tuple[ContainerUpdate, ...]:
        """What the kernel is still to be told."""
        return compute_updates(pod, observed, self._context.host.memory_bytes)

    def is_pod_due(self, pod: models.Pod, observed: PodRuntimeStatus) -> bool:
        """Has the pod's own cgroup other limits than it should?"""
        sandbox = observed.ready_sandbox
        return sandbox is not None and compute_pod_steps(pod, sandbox.resources) is not None

    def restarts(self, updates: tuple[ContainerUpdate, ...]) -> frozenset[ContainerId]:
        """Containers that get their new limits by a restart."""
        return frozenset(update.id for update in updates if update.restart)

    def on_pass(
        self,
        document: Document,
        pod: models.Pod,
        observed: PodRuntimeStatus,
        updates: tuple[ContainerUpdate, ...],
        *,
        is_due: bool,
    ) -> None:
        """Tell the end of a resize: everything is written, and what had to restart runs again."""
        self._restarting |= {update.name for update in updates if update.restart}
        due = {update.name for update in updates}
        self._restarting = {name for name in self._restarting if name in due or not _runs(observed, name)}
        if self._in_progress and not is_due and not self._restarting and self.pending is None:
            self._in_progress, self._error = False, ""
            text = format_resize_event("Pod resize completed", pod)
            self._context.recorder.event(document, "Normal", "ResizeCompleted", text)

    async def apply(
        self, document: Document, pod: models.Pod, observed: PodRuntimeStatus, updates: tuple[ContainerUpdate, ...]
    ) -> None:
        """Write the limits.

        Raises:
            PodhostError: The event has been recorded.
        """
        runtime, sandbox = self._context.runtime, observed.ready_sandbox
        if sandbox is None:
            return
        steps = compute_pod_steps(pod, sandbox.resources)
        try:
            if steps is not None:
                await runtime.update_pod_sandbox_resources(sandbox.id, steps[0])
            for update in updates:
                if not update.restart:
                    await runtime.update_container_resources(update.id, update.wanted)
            if steps is not None:
                await runtime.update_pod_sandbox_resources(sandbox.id, steps[1])
        except PodhostError as error:
            cause = describe_cause(error)
            if cause != self._error:
                text = format_resize_event("Pod resize error", pod, error=cause)
                self._context.recorder.event(document, "Warning", "ResizeError", text)
            self._error = cause
            raise
        self._error = ""

    def view(self, updates: tuple[ContainerUpdate, ...]) -> ResizeView:
        """For the status."""
        conditions = []
        if self.pending is not None:
            conditions.append(self._build_condition(RESIZE_PENDING, self.pending.reason, self.pending.message))
        if self._in_progress:
            conditions.append(self._build_condition(RESIZE_IN_PROGRESS, "Error" if self._error else "", self._error))
        return ResizeView(unapplied=frozenset(update.name for update in updates), conditions=tuple(conditions))

    def _build_condition(self, name: str, reason: str, message: str) -> dict[str, Any]:
        condition: dict[str, Any] = {"type": name}
        if self._generation:
            condition["observedGeneration"] = self._generation
        condition |= {"status": "True", "lastProbeTime": None, "lastTransitionTime": self._since[name] or self._now()}
        if reason:
            condition |= {"reason": reason, "message": message}
        return condition

    def _now(self) -> str:
        return format_time(self._context.clock.now_ns())


def _runs(observed: PodRuntimeStatus, name: str) -> bool:
    status = observed.latest(name)
    return status is not None and status.state is ContainerState.RUNNING
