"""The probes of one pod's containers: which are made, which wait for others, and what they have found.

::

    startup probe ──succeeds──▶ readiness at once, liveness with its next beat
    deletion      ──▶ startup and liveness end, readiness goes on
    the container's end ──▶ all of its probes end; the next container has its own
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from podhost.aiokit import failpoint
from podhost.aiokit.tasks import Tasks
from podhost.api import models
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.errors import PodhostError
from podhost.kubelet.container_status import format_container_id
from podhost.kubelet.handlers import HandlerTarget, build_target
from podhost.kubelet.node_context import Document, NodeContext, find_container, format_field_path
from podhost.kubelet.pod_actions import LifecycleView
from podhost.kubelet.probe_loop import ProbeLoop
from podhost.kubelet.probe_state import (
    PROBE_KINDS,
    Outcome,
    ProbeKind,
    ProbeState,
    Result,
    Verdict,
    build_initial_state,
    build_settings,
    compute_outcome,
    describe_outcome,
)
from podhost.kubelet.runtime_status import PodRuntimeStatus

_log = logging.getLogger(__name__)

_STEP_LOOK = failpoint.register("probe.20-look")
_MAX_TRIES = 3
"""A probe that could not be run is tried again so often before its result is thrown away."""
OnOutcome = Callable[[ProbeKind, Outcome], None]


def find_probes(container: models.Container) -> dict[ProbeKind, models.Probe]:
    """The probes of a container."""
    probes: dict[ProbeKind, models.Probe | None] = {
        "startup": container.startup_probe,
        "liveness": container.liveness_probe,
        "readiness": container.readiness_probe,
    }
    return {kind: probe for kind, probe in probes.items() if probe is not None}


class ContainerProbes:
    """The probes of one container id."""

    def __init__(
        self,
        context: NodeContext,
        target: HandlerTarget,
        states: Mapping[ProbeKind, ProbeState],
        on_outcome: OnOutcome,
        on_change: Callable[[], None],
        tasks: Tasks,
    ) -> None:
        self._context = context
        self._target = target
        self._on_change = on_change
        self._since_s: dict[ProbeKind, float] = {}
        self.loops: dict[ProbeKind, ProbeLoop] = {}
        for kind, probe in find_probes(target.container).items():
            self.loops[kind] = ProbeLoop(
                build_settings(kind, probe, context.settings.time_scale),
                states.get(kind) or build_initial_state(kind),
                self._build_run(probe, float(probe.timeout_seconds or 1)),
                lambda outcome, kind=kind: on_outcome(kind, outcome),  # type: ignore[misc]
                lambda kind=kind: self._on_result(kind),  # type: ignore[misc]
                tasks,
            )

    def _build_run(self, probe: models.Probe, timeout_s: float) -> Callable[[], Any]:
        async def run() -> Outcome:
            for _ in range(_MAX_TRIES):
                outcome = await self._context.handlers.probe(self._target, probe, timeout_s)
                if outcome.verdict not in (Verdict.SUCCESS, Verdict.WARNING):
                    outcome = compute_outcome(outcome, is_ending=await self._is_ending())
                if outcome.verdict is not Verdict.UNKNOWN:
                    break
            return outcome

        return run

    async def _is_ending(self) -> bool:
        try:
            failpoint.hit(_STEP_LOOK)
            return await self._context.runtime.is_container_ending(self._target.container_id)
        except (PodhostError, OSError) as error:
            _log.debug("cannot see whether container %s ends: %s", self._target.container_id, error)
            return False

    def begin(self, started_s: float, *, adopted: bool) -> None:
        """Probe a container that runs since ``started_s`` of the loop's time."""
        now = asyncio.get_running_loop().time()
        for kind, loop in self.loops.items():
            self._since_s[kind] = started_s + loop.settings.initial_delay_s
            if adopted:
                # Many are taken up at once after a restart of the daemon: spread them.
                self._since_s[kind] = max(self._since_s[kind], now + random.random() * loop.settings.period_s)
        for kind in PROBE_KINDS if self.is_started else ("startup",):
            if kind in self.loops and not (kind == "startup" and self.is_started):
                self.loops[kind].begin(self._since_s[kind])

    @property
    def is_started(self) -> bool:
        """Has the startup probe succeeded, or is there none?"""
        return self.find_result("startup") in (Result.SUCCESS, None)

    def find_result(self, kind: ProbeKind) -> Result | None:
        """What is believed; ``None`` without such a probe."""
        loop = self.loops.get(kind)
        return loop.state.result if loop is not None else None

    def end_for_deletion(self) -> None:
        """Only readiness matters from now on."""
        for kind in ("startup", "liveness"):
            loop = self.loops.pop(kind, None)
            if loop is not None:
                loop.stop()
                if kind == "startup" and loop.state.result is not Result.SUCCESS:
                    self._open_gate()

    def stop(self) -> None:
        for loop in self.loops.values():
            loop.stop()

    def _on_result(self, kind: ProbeKind) -> None:
        if kind == "startup" and self.is_started:
            self.loops["startup"].stop()
            self._open_gate()
        self._on_change()

    def _open_gate(self) -> None:
        if "liveness" in self.loops:
            self.loops["liveness"].begin_in_step(self._since_s["liveness"])
        if "readiness" in self.loops:
            self.loops["readiness"].begin(self._since_s["readiness"])


class PodProbes:
    """Looks after the probes of one pod; a pass calls :meth:`sync`, results ask for a pass."""

    def __init__(self, context: NodeContext, request_sync: Callable[[], None]) -> None:
        self._context = context
        self._request_sync = request_sync
        self._containers: dict[ContainerId, ContainerProbes] = {}
        self._tasks = Tasks()
        self._document: Document = {}
        self._pod: models.Pod | None = None

    def sync(
        self,
        document: Document,
        pod: models.Pod,
        observed: PodRuntimeStatus,
        *,
        in_post_start: frozenset[ContainerId] = frozenset(),
    ) -> LifecycleView:
        """Probe what runs and has been started to the end, forget what is gone; what is known now."""
        self._document, self._pod = document, pod
        running = {c.id: c for c in observed.containers if c.state is ContainerState.RUNNING}
        for gone in self._containers.keys() - running.keys():
            self._containers.pop(gone).stop()
        for container_id, status in running.items():
            if container_id not in self._containers and container_id not in in_post_start:
                self._begin(pod, status, observed)
        if pod.metadata.deletion_timestamp:
            for probes in self._containers.values():
                probes.end_for_deletion()
        if not self._containers:
            self._document, self._pod = {}, None
        return self._build_view(in_post_start)

    def on_status_written(self, document: Document) -> None:
        """The object has a new status and else is the same: an old version, 25 KiB, is not to be kept for it."""
        if self._containers:
            self._document = document

    def _build_view(self, in_post_start: frozenset[ContainerId]) -> LifecycleView:
        def having(kind: ProbeKind, *results: Result) -> frozenset[ContainerId]:
            return frozenset(i for i, probes in self._containers.items() if probes.find_result(kind) in results)

        return LifecycleView(
            liveness_failed=having("liveness", Result.FAILURE),
            startup_failed=having("startup", Result.FAILURE),
            not_started=having("startup", Result.UNKNOWN, Result.FAILURE) | in_post_start,
            not_ready=having("readiness", Result.FAILURE),
            in_post_start=in_post_start,
        )

    def _begin(self, pod: models.Pod, status: ContainerStatus, observed: PodRuntimeStatus) -> None:
        found = find_container(pod, status.name)
        container = found[0] if found is not None else None
        sandbox = next((s for s in observed.sandboxes if s.id == status.sandbox_id), None)
        if not isinstance(container, models.Container) or sandbox is None or not find_probes(container):
            return
        target = build_target(container, status, sandbox, self._context.settings.host_ips)
        adopted = status.started_at_ns < self._context.started_at_ns
        states = build_adopted_states(self._document, status) if adopted else {}
        name = container.name
        probes = ContainerProbes(
            self._context,
            target,
            states,
            lambda kind, outcome: self._on_outcome(name, kind, outcome),
            self._request_sync,
            self._tasks,
        )
        self._containers[status.id] = probes
        age_s = max(0.0, (self._context.clock.now_ns() - status.started_at_ns) / 1e9)
        probes.begin(asyncio.get_running_loop().time() - age_s, adopted=adopted)

    def _on_outcome(self, name: str, kind: ProbeKind, outcome: Outcome) -> None:
        described = describe_outcome(kind, outcome)
        if described is not None and self._pod is not None:
            where = format_field_path(self._pod, name)
            self._context.recorder.event(self._document, "Warning", *described, field_path=where)

    def end(self) -> None:
        """Nothing is probed any more."""
        for probes in self._containers.values():
            probes.stop()
        self._containers.clear()

    async def stop(self) -> None:
        """The daemon ends."""
        self.end()
        await self._tasks.cancel_all()


def build_adopted_states(document: Document, status: ContainerStatus) -> dict[ProbeKind, ProbeState]:
    """What an earlier daemon has believed of a container that outlived it: nobody loses readiness by a restart."""
    written = document.get("status") or {}
    entries = [*(written.get("containerStatuses") or ()), *(written.get("initContainerStatuses") or ())]
    before: dict[str, Any] = next((e for e in entries if e.get("containerID") == format_container_id(status.id)), {})
    states: dict[ProbeKind, ProbeState] = {}
    if before.get("started"):
        states["startup"] = ProbeState(Result.SUCCESS)
    if before.get("ready"):
        states["readiness"] = ProbeState(Result.SUCCESS)
    return states
