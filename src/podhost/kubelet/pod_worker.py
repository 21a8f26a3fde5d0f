"""One pod: looks at the facts, decides, starts what is to be done, writes the status.

A pass (:meth:`PodWorker.sync_pod`) is short and never waits for an effect.  Effects are named tasks
(:mod:`podhost.kubelet.in_flight`); an action whose name is in flight is not started again, and each end of a
task asks for another pass.  So a slow pull in one container never delays the restart of another one::

    event (store, runtime, timer, end of a task) ──▶ pass ──▶ tasks ──▶ pass …

    running ──all is over──▶ finished (what it holds is released)
    any     ──deletionTimestamp, or the object is gone──▶ terminating (all is removed) ──▶ the worker's end

docs/state-machines.md has all transitions.  The parts of a worker share :class:`podhost.kubelet.pod_facts.PodFacts`:
:mod:`podhost.kubelet.pod_preparer` (sandbox and volumes), :mod:`podhost.kubelet.status_reporter` (what is told),
:mod:`podhost.kubelet.pod_end` (finishing and removal), :mod:`podhost.kubelet.pod_probes`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import msgspec

from podhost.api import models
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.container_gc import GarbageCollector
from podhost.kubelet.handlers import HookError
from podhost.kubelet.hooks import has_post_start, run_post_start
from podhost.kubelet.image_puller import ImagePuller, RetryPlan, StartFailure
from podhost.kubelet.in_flight import InFlight
from podhost.kubelet.node_context import Document, NodeContext
from podhost.kubelet.pod_actions import (
    ContainerKill,
    ContainerStart,
    PodActions,
    PodFailure,
    compute_pod_actions,
)
from podhost.kubelet.pod_changes import is_another_pod, read_gates, read_start_time_ns
from podhost.kubelet.pod_end import EVICTION_GRACE_S, PodEnd
from podhost.kubelet.pod_facts import PodFacts
from podhost.kubelet.pod_preparer import RETRY_FIRST_S, RETRY_MAX_S, PodPreparer
from podhost.kubelet.pod_probes import PodProbes
from podhost.kubelet.pod_resizer import PodResizer
from podhost.kubelet.pod_start import PodStarter, PrepareError
from podhost.kubelet.pod_status import is_terminal
from podhost.kubelet.pod_stop import PodStopper, compute_grace_s
from podhost.kubelet.preemption import DISRUPTION_MESSAGE, PREEMPTED_MESSAGE, PREEMPTING
from podhost.kubelet.resize import ContainerUpdate
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.start_failures import StartFailures
from podhost.kubelet.status_reporter import StatusReporter
from podhost.kubelet.status_writer import write_disruption
from podhost.kubelet.timers import Timers
from podhost.store.keys import ObjectKey

_log = logging.getLogger(__name__)

WorkerMode = Literal["running", "finished", "terminating"]

_EVICTED = "Evicted"
_UNEXPECTED_RETRY_S = 10.0


class PodWorker:
    """The state that is kept for one pod in memory: what is in flight, and recent failures.

    Everything else is read from the store and the runtime at each pass.  No collaborator holds the worker, so that
    all of it is freed with the pod, and not when the collector next looks.
    """

    def __init__(
        self,
        context: NodeContext,
        document: Document,
        *,
        puller: ImagePuller,
        request_sync: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._context = context
        self._request_sync = request_sync
        self._on_end = on_end
        ask = partial(request_sync, document["metadata"]["uid"])
        self._in_flight = in_flight = InFlight(ask)
        self._timers = timers = Timers(ask)
        self._failures = StartFailures(timers)
        self._probes = PodProbes(context, ask)
        self._resizer = PodResizer(context)
        self._facts = facts = PodFacts(context, document, self._allocate(document))
        self._starter = PodStarter(context, puller)
        self._stopper = stopper = PodStopper(context)
        self._preparer = PodPreparer(context, facts, self._starter, stopper, in_flight, timers)
        self._reporter = reporter = StatusReporter(context, facts, self._failures, self._resizer, timers)
        self._garbage = GarbageCollector(str(facts.key), context.runtime, in_flight, timers, reporter.forget)
        self._end = PodEnd(facts, stopper, reporter, in_flight, timers)
        self._killed_to_restart: frozenset[ContainerId] = frozenset()

    def _allocate(self, document: Document) -> models.Pod:
        """The pod as it is to run.  Raises ValueError for a document that is none."""
        return self._resizer.allocate(document, msgspec.convert(document, models.Pod))

    @property
    def document(self) -> Document:
        """The API object as it was seen last."""
        return self._facts.document

    @property
    def pod(self) -> models.Pod:
        """The pod as it is to run."""
        return self._facts.pod

    @property
    def uid(self) -> PodUID:
        return self._facts.uid

    @property
    def key(self) -> ObjectKey:
        return self._facts.key

    # -- events ---------------------------------------------------------------------------------------------

    def request_sync(self) -> None:
        """Have a pass made soon."""
        self._request_sync(self.uid)

    def on_document(self, document: Document) -> None:
        """The API object has changed."""
        old = self.document
        if not is_another_pod(old, document):
            self._facts.document = document  # Our own status write, most likely.
            self._probes.on_status_written(document)
            if read_gates(self.pod, old) != read_gates(self.pod, document):
                self.request_sync()
            return
        self._facts.set_document(document, self._allocate(document))
        self._failures.clear_where(lambda failure: failure.retry.retry_after_s is None)
        self._end.on_document()
        self.request_sync()

    def on_room(self) -> None:
        """Another pod needs less than before: what was deferred may fit."""
        if self._resizer.pending is not None and not self.pod.metadata.deletion_timestamp:
            self._facts.set_document(self.document, self._allocate(self.document))
            self.request_sync()

    def on_object_gone(self) -> None:
        """The API object was removed without waiting for us (forced deletion)."""
        self._facts.is_object_gone = True
        self.request_sync()

    def on_dependency(self) -> None:
        """A ConfigMap or Secret of the namespace has changed: what failed may succeed now."""
        if self._failures or self._timers.holds_any:
            self._failures.clear_where(lambda failure: failure.reason == "CreateContainerConfigError")
            self._timers.release("prepare")
            self.request_sync()

    def on_container_event(self, is_progress: bool) -> None:
        """Something happened to a container; ``is_progress``: it was created or started."""
        if is_progress and self._in_flight.any("start:"):
            return  # The end of the start task asks for a pass by itself.
        self.request_sync()

    @property
    def is_preparing(self) -> bool:
        """Whether its volumes and its sandbox are being made, or will be tried again."""
        return "prepare" in self._in_flight or self._timers.is_held("prepare")

    @property
    def may_be_evicted(self) -> bool:
        """Whether it lives and is to go on living."""
        return not self._facts.failure and not self._facts.is_deleted and not is_terminal(self._facts.status)

    def evict(
        self,
        message: str,
        *,
        grace_s: float = EVICTION_GRACE_S,
        annotations: Mapping[str, str] | None = None,
        is_disruption: bool = False,
    ) -> None:
        """The kubelet ends the pod: it uses more than it may, or (a disruption) more than the node has.

        Args:
            message: Of the status and of the event.
            grace_s: How long its containers may take to end.
            annotations: Of the event.
            is_disruption: It is not the pod's fault; a condition says so.
        """
        if self.may_be_evicted:
            failure = PodFailure(_EVICTED, message, grace_s)
            self._condemn(failure, disruption=message if is_disruption else "", annotations=annotations)

    async def wait_released(self) -> None:
        """Until its containers have ended and what they held is given back."""
        await self._end.released.wait()

    @property
    def is_new(self) -> bool:
        """Whether no kubelet has taken it up yet."""
        return not self._facts.status.get("startTime") and not self.observe().sandboxes

    @property
    def takes_room(self) -> bool:
        """Whether the node has to count it among its pods."""
        failure = self._facts.failure
        is_rejected = failure is not None and failure.is_rejection
        return not is_rejected and not self._facts.is_object_gone and not is_terminal(self._facts.status)

    def reject(self, message: str, reason: str = _EVICTED) -> None:
        """The node does not take the pod."""
        self._facts.failure = PodFailure(reason, message, is_rejection=True)
        self._facts.event("Warning", reason, message)

    def preempt(self) -> None:
        """It has to go, with the patience that it asks for, so that a critical pod can run."""
        if self.may_be_evicted:
            self._condemn(PodFailure(PREEMPTING, PREEMPTED_MESSAGE), disruption=DISRUPTION_MESSAGE)

    def _condemn(
        self, failure: PodFailure, *, disruption: str = "", annotations: Mapping[str, str] | None = None
    ) -> None:
        """It ends in any case; that this is a disruption is said where it can be written (the disk may be full)."""
        self._facts.failure = failure
        self.request_sync()
        context = self._context
        context.recorder.event(self.document, "Warning", failure.reason, failure.message, annotations=annotations)
        if disruption:
            try:
                write_disruption(context.store, self.key, self.uid, disruption, context.clock.now_ns())
            except PodhostError as error:
                _log.warning("cannot write the condition DisruptionTarget of pod %s: %s", self.key, error)

    def wait_for_room(self, others: Iterable[PodWorker]) -> None:
        """Start nothing before these have given back what they hold."""

        async def wait() -> None:
            for other in tuple(others):
                await other.wait_released()

        self._in_flight.spawn("room", wait())

    async def stop(self) -> None:
        """The daemon ends: drop what is in flight; containers live on."""
        self._timers.cancel_all()
        await self._probes.stop()
        await self._in_flight.cancel_all()

    async def stop_containers(self, max_grace_s: float) -> None:
        """The machine ends.  Only after :meth:`stop`."""
        grace_s = min(compute_grace_s(self.pod), max_grace_s)
        await self._stopper.stop_containers(self.document, self.pod, self.observe(), grace_s)

    # -- the pass -------------------------------------------------------------------------------------------

    def observe(self) -> PodRuntimeStatus:
        """The runtime's facts, from memory."""
        return self._facts.observe()

    def generate_status(self, observed: PodRuntimeStatus, *, is_ending: bool = False) -> dict[str, Any]:
        """The status as it is now."""
        return self._reporter.generate(observed, is_ending=is_ending)

    async def sync_pod(self) -> None:
        """One pass."""
        observed = await self._facts.observe_with_messages()
        self._look_after_probes(observed)
        match self.mode:
            case "terminating":
                self._sync_terminating(observed)
            case "finished":
                self._sync_finished(observed)
            case "running":
                self._sync_running(observed)

    @property
    def mode(self) -> WorkerMode:
        """What a pass does; read from the object, so that a new daemon goes on in the same mode."""
        if self._facts.is_deleted:
            return "terminating"
        return "finished" if is_terminal(self._facts.status) else "running"

    def _look_after_probes(self, observed: PodRuntimeStatus) -> None:
        if self._facts.is_object_gone or is_terminal(self._facts.status):
            self._probes.end()
            return
        in_post_start = frozenset(
            c.id
            for c in observed.containers
            if c.state is ContainerState.RUNNING and f"start:{c.name}" in self._in_flight
            if has_post_start(self.pod, c.name)
        )
        view = self._probes.sync(self.document, self.pod, observed, in_post_start=in_post_start)
        self._killed_to_restart &= frozenset(c.id for c in observed.containers if self._has_died_or_will(c))
        self._facts.view = replace(view, killed_to_restart=self._killed_to_restart)

    def _has_died_or_will(self, container: ContainerStatus) -> bool:
        """Of a container that was to be killed: it still is."""
        return container.state is ContainerState.EXITED or f"kill:{container.id}" in self._in_flight

    def _sync_running(self, observed: PodRuntimeStatus) -> None:
        self._sync_resize(observed)
        facts = self._facts
        actions = compute_pod_actions(
            facts.pod,
            observed,
            self._context.clock.now_ns(),
            self._context.settings.container_backoff,
            view=replace(facts.view, resized=self._resizer.restarts(facts.updates)),
            started_at_ns=read_start_time_ns(facts.status),
            unsafe_sysctls=self._context.settings.allowed_unsafe_sysctls,
        )
        if actions.failure is not None and facts.failure is None:
            facts.failure = actions.failure
            rejected = actions.failure.is_rejection
            facts.event("Warning" if rejected else "Normal", actions.failure.reason, actions.failure.message)
        if facts.failure is not None or (actions.kill_pod and not actions.create_sandbox):
            # First: what cannot be written down, because this pod has filled the disk, is written when it has gone.
            self._end.finish(self._on_released)
            self._reporter.write(observed, is_ending=True)
            return
        if "room" in self._in_flight:
            self._write_progress(observed)
            return
        self._carry_out(actions, observed)
        self._timers.set("requeue", self._delay_until(actions.requeue_at_ns))
        self._reporter.tell_backoffs(actions, observed)
        self._write_progress(observed)
        self._garbage.collect(observed)

    def _write_progress(self, observed: PodRuntimeStatus) -> None:
        is_busy = self._in_flight.any("start:") or self._in_flight.any("terminate")
        self._reporter.write_progress(observed, is_busy=is_busy)

    def _sync_resize(self, observed: PodRuntimeStatus) -> None:
        """Write limits that were changed; containers that must restart for theirs are left to the actions."""
        self._facts.updates = self._resizer.compute_updates(self.pod, observed)
        due = self._resizer.is_pod_due(self.pod, observed) or any(not update.restart for update in self._facts.updates)
        self._resizer.on_pass(self.document, self.pod, observed, self._facts.updates, is_due=due)
        if due and "resize" not in self._in_flight and not self._timers.is_held("resize"):
            self._in_flight.spawn("resize", self._resize(observed, self._facts.updates))

    async def _resize(self, observed: PodRuntimeStatus, updates: tuple[ContainerUpdate, ...]) -> None:
        try:
            await self._resizer.apply(self.document, self.pod, observed, updates)
        except PodhostError as error:
            _log.info("cannot resize %s: %s", self.key, error)
            self._timers.retry_later("resize", RETRY_FIRST_S, RETRY_MAX_S)
        else:
            self._timers.forget_retry("resize")

    def _carry_out(self, actions: PodActions, observed: PodRuntimeStatus) -> None:
        for kill in actions.kill:
            name = f"kill:{kill.id}"
            if name not in self._in_flight:
                self._in_flight.spawn(name, self._stopper.kill_container(self.document, self.pod, kill))
            if kill.will_restart:
                self._killed_to_restart |= {kill.id}
        killed = {kill.name for kill in actions.kill}
        wanted = [s for s in actions.start if s.name not in killed and self._may_start(s)]
        if not wanted and not actions.create_sandbox:
            return
        if not self._preparer.ensure(actions, observed):
            return
        for start in wanted:
            self._in_flight.spawn(f"start:{start.name}", self._start(start))

    def _may_start(self, start: ContainerStart) -> bool:
        name = f"start:{start.name}"
        return name not in self._in_flight and not self._timers.is_held(name)

    async def _start(self, start: ContainerStart) -> None:
        try:
            prepared = self._preparer.prepared
            container_id = await self._starter.start_container(self.document, self.pod, start, prepared)
            await self._run_post_start(start.name, container_id)
        except PrepareError:
            return  # Reported by the task that prepares; the next pass comes with its retry.
        except StartFailure as failure:
            if failure.reason == "CreateContainerError":
                self._preparer.doubt()
            self._failures.add(start.name, failure, self._on_backing_off)
        except Exception as error:
            _log.exception("cannot start container %s of %s", start.name, self.key)
            retry = RetryPlan(_UNEXPECTED_RETRY_S)
            unexpected = StartFailure("CreateContainerError", describe_cause(error), retry)
            self._failures.add(start.name, unexpected, self._on_backing_off)
        else:
            self._failures.clear(start.name)

    async def _run_post_start(self, name: str, container_id: ContainerId) -> None:
        try:
            await run_post_start(self._context, self.document, self.pod, name, container_id)
        except HookError as error:
            kill = ContainerKill(container_id, name, "FailedPostStartHook", "FailedPostStartHook")
            await self._stopper.kill_container(self.document, self.pod, kill)
            # The container is EXITED: restart policy and back-off rule from here on.
            raise StartFailure("PostStartHookError", str(error), RetryPlan(0.0)) from error

    def _on_backing_off(self, name: str, becomes: StartFailure) -> None:
        """ErrImagePull turns into ImagePullBackOff."""
        self._facts.event("Normal", "BackOff", becomes.message.partition(": ")[0], name)
        self._facts.event("Warning", "Failed", f"Error: {becomes.reason}", name)
        self.request_sync()

    # -- the end --------------------------------------------------------------------------------------------

    def _sync_finished(self, observed: PodRuntimeStatus) -> None:
        """The phase is final: nothing starts any more; what is held is given back."""
        self._end.finish(self._on_released)
        self._reporter.write(observed, is_ending=True)
        self._garbage.collect(observed)

    def _on_released(self) -> None:
        self._preparer.forget()
        self._resizer.forget(self.uid)

    def _sync_terminating(self, observed: PodRuntimeStatus) -> None:
        self._end.terminate(self._on_removed)
        if not self._facts.is_object_gone:
            self._write_progress(observed)

    def _on_removed(self) -> None:
        self._timers.cancel_all()
        self._probes.end()
        self._resizer.forget(self.uid)
        self._end.released.set()
        self._on_end(self.uid)

    async def remove_dead_containers(self) -> None:
        """The node needs the disk: what is left of a finished pod goes, with its logs; the status stays."""
        if self.mode == "finished" and self._end.released.is_set():
            await self._garbage.remove_all(self.observe())

    def _delay_until(self, at_ns: int | None) -> float | None:
        return None if at_ns is None else max(0.0, (at_ns - self._context.clock.now_ns()) / 1e9)
