"""One pod: looks at the facts, decides, starts what is to be done, writes the status.

A pass (:meth:`PodWorker.sync_pod`) is short and never waits for an effect.  Effects are named tasks
(:mod:`podhost.kubelet.in_flight`); an action whose name is in flight is not started again, and each end of a
task asks for another pass.  So a slow pull in one container never delays the restart of another one::

    event (store, runtime, timer, end of a task) ──▶ pass ──▶ tasks ──▶ pass …

    running ──all is over──▶ finished (what it holds is released)
    any     ──deletionTimestamp, or the object is gone──▶ terminating (all is removed) ──▶ the worker's end

docs/state-machines.md has all transitions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import msgspec

from podhost.api import models
from podhost.api.objects import is_static_pod
from podhost.api.reasons import EVICTED
from podhost.api.time import parse_time
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.container_gc import Garbage, compute_garbage, remove_garbage
from podhost.kubelet.container_status import StatusContext
from podhost.kubelet.field_events import record_field_events
from podhost.kubelet.handlers import HookError
from podhost.kubelet.hooks import has_post_start, run_post_start
from podhost.kubelet.image_puller import ImagePuller, RetryPlan, StartFailure
from podhost.kubelet.in_flight import InFlight
from podhost.kubelet.node_context import Document, NodeContext, format_field_path
from podhost.kubelet.pod_actions import (
    SYSCTL_FORBIDDEN,
    ContainerKill,
    ContainerStart,
    LifecycleView,
    PodActions,
    PodFailure,
    compute_pod_actions,
)
from podhost.kubelet.pod_probes import PodProbes
from podhost.kubelet.pod_resizer import PodResizer
from podhost.kubelet.pod_start import PodStarter, PreparedPod, PrepareError
from podhost.kubelet.pod_status import generate_pod_status, has_exited_only, is_terminal
from podhost.kubelet.pod_stop import PodStopper, compute_grace_s
from podhost.kubelet.resize import ContainerUpdate
from podhost.kubelet.runtime_status import PodRuntimeStatus, build_runtime_status
from podhost.kubelet.start_failures import StartFailures
from podhost.kubelet.status_writer import write_disruption, write_status
from podhost.kubelet.termination_message import read_termination_message
from podhost.kubelet.timers import Timers
from podhost.store.keys import ObjectKey

_log = logging.getLogger(__name__)

WorkerMode = Literal["running", "finished", "terminating"]

_PROGRESS_DELAY_S = 0.05
"""While containers are being started, intermediate states are written at most this often."""
_PREPARE_FIRST_S = 0.5
_PREPARE_MAX_S = 122.0
_STOP_FIRST_S = 1.0
_STOP_MAX_S = 60.0
_FORCED_GRACE_S = 1.0
_UNEXPECTED_RETRY_S = 10.0
_EVICTION_GRACE_S = 1.0
"""Of a pod that is over a limit (the kubelet's immediateEvictionGracePeriodSeconds)."""


class PodWorker:
    """The state that is kept for one pod in memory: what is in flight, and recent failures.

    Everything else is read from the store and the runtime at each pass.
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
        self._starter = PodStarter(context, puller)
        self._stopper = PodStopper(context)
        self._resizer = PodResizer(context)
        self._request_sync = request_sync
        self._on_end = on_end
        self._in_flight = InFlight(self.request_sync)
        self._prepared: asyncio.Future[PreparedPod] | None = None
        self._messages: dict[ContainerId, str] = {}
        self._told_backoff: set[ContainerId] = set()
        self._timers = Timers(self.request_sync)
        self._failures = StartFailures(self._timers, self._on_backing_off)
        self._failure: PodFailure | None = None
        self._probes = PodProbes(context, self.request_sync)
        self._view = LifecycleView()
        self._killed_to_restart: frozenset[ContainerId] = frozenset()
        self._object_gone = False
        self._released = False
        self._updates: tuple[ContainerUpdate, ...] = ()
        self._grace_s: float | None = None
        self._last_write_s = float("-inf")
        self._set_document(document)

    def _set_document(self, document: Document) -> None:
        self.document = document
        self.pod = self._resizer.allocate(document, msgspec.convert(document, models.Pod))
        self.uid = PodUID(self.pod.metadata.uid)
        self.key = ObjectKey("pods", self.pod.metadata.namespace, self.pod.metadata.name)

    # -- events ---------------------------------------------------------------------------------------------

    def request_sync(self) -> None:
        """Have a pass made soon."""
        self._request_sync(self.uid)

    def on_document(self, document: Document) -> None:
        """The API object has changed."""
        old = self.document
        if old.get("spec") == document.get("spec") and _stable_meta(old) == _stable_meta(document):
            self.document = document  # Our own status write, most likely.
            if self._read_gates(old) != self._read_gates(document):
                self.request_sync()
            return
        self._set_document(document)
        self._failures.clear_where(lambda failure: failure.retry.retry_after_s is None)
        self._shorten_grace()
        self.request_sync()

    def on_room(self) -> None:
        """Another pod needs less than before: what was deferred may fit."""
        if self._resizer.pending is not None and not self.pod.metadata.deletion_timestamp:
            self._set_document(self.document)
            self.request_sync()

    def _read_gates(self, document: Document) -> list[tuple[str, str]]:
        """What others have said about the pod's readiness."""
        names = {gate.condition_type for gate in self.pod.spec.readiness_gates}
        conditions = (document.get("status") or {}).get("conditions") or ()
        return [(c["type"], c.get("status", "")) for c in conditions if c.get("type") in names]

    def on_object_gone(self) -> None:
        """The API object was removed without waiting for us (forced deletion)."""
        self._object_gone = True
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
    def may_be_evicted(self) -> bool:
        """Whether it lives and is to go on living."""
        over = self._failure or self._object_gone or self.pod.metadata.deletion_timestamp
        return not over and not is_terminal(self._status())

    def evict(self, message: str, *, is_disruption: bool = False) -> None:
        """The kubelet ends the pod: it uses more than it may, or (a disruption) more than the node has."""
        if self.may_be_evicted:
            self._failure = PodFailure(EVICTED, message)
            self._event("Warning", EVICTED, message)
            if is_disruption:
                write_disruption(self._context.store, self.key, self.uid, message, self._context.clock.now_ns())
            self.request_sync()

    @property
    def is_new(self) -> bool:
        """Whether no kubelet has taken it up yet."""
        return not self._status().get("startTime") and not self.observe().sandboxes

    def reject(self, message: str) -> None:
        """The node does not take the pod now."""
        self._failure = PodFailure(EVICTED, f"Pod was rejected: {message}")
        self._event("Warning", EVICTED, message)

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
        runtime = self._context.runtime
        return build_runtime_status(
            (s for s in runtime.list_pod_sandboxes() if s.uid == self.uid), runtime.list_containers(self.uid)
        )

    async def sync_pod(self) -> None:
        """One pass."""
        observed = await self._observe_with_messages()
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
        if self._object_gone or self.pod.metadata.deletion_timestamp:
            return "terminating"
        return "finished" if is_terminal(self._status()) else "running"

    def _look_after_probes(self, observed: PodRuntimeStatus) -> None:
        if self._object_gone or is_terminal(self._status()):
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
        self._view = replace(view, killed_to_restart=self._killed_to_restart)

    def _has_died_or_will(self, container: ContainerStatus) -> bool:
        """Of a container that was to be killed: it still is."""
        return container.state is ContainerState.EXITED or f"kill:{container.id}" in self._in_flight

    def _status(self) -> dict[str, Any]:
        return self.document.get("status") or {}

    async def _observe_with_messages(self) -> PodRuntimeStatus:
        """Facts, after the messages of all that has ended were read.  Nothing is awaited after the last look."""
        while True:
            observed = self.observe()
            fresh = [c for c in observed.containers if c.state is ContainerState.EXITED and c.id not in self._messages]
            if not fresh:
                return observed
            for container in fresh:
                self._messages[container.id] = await asyncio.to_thread(read_termination_message, container)

    def _sync_running(self, observed: PodRuntimeStatus) -> None:
        self._sync_resize(observed)
        actions = compute_pod_actions(
            self.pod,
            observed,
            self._context.clock.now_ns(),
            self._context.settings.container_backoff,
            view=replace(self._view, resized=self._resizer.restarts(self._updates)),
            started_at_ns=_time_ns(self._status().get("startTime")),
            unsafe_sysctls=self._context.settings.allowed_unsafe_sysctls,
        )
        if actions.failure is not None and self._failure is None:
            self._failure = actions.failure
            rejected = actions.failure.reason == SYSCTL_FORBIDDEN
            self._event("Warning" if rejected else "Normal", actions.failure.reason, actions.failure.message)
        if self._failure is not None or (actions.kill_pod and not actions.create_sandbox):
            self._write(observed, is_ending=True)
            self._finish()
            return
        self._carry_out(actions, observed)
        self._timers.set("requeue", self._delay_until(actions.requeue_at_ns))
        self._tell_backoffs(actions, observed)
        self._write_progress(observed)
        self._collect_garbage(observed)

    def _sync_resize(self, observed: PodRuntimeStatus) -> None:
        """Write limits that were changed; containers that must restart for theirs are left to the actions."""
        self._updates = self._resizer.compute_updates(self.pod, observed)
        due = self._resizer.is_pod_due(self.pod, observed) or any(not update.restart for update in self._updates)
        self._resizer.on_pass(self.document, self.pod, observed, self._updates, is_due=due)
        if due and "resize" not in self._in_flight and not self._timers.is_held("resize"):
            self._in_flight.spawn("resize", self._resize(observed, self._updates))

    async def _resize(self, observed: PodRuntimeStatus, updates: tuple[ContainerUpdate, ...]) -> None:
        try:
            await self._resizer.apply(self.document, self.pod, observed, updates)
        except PodhostError as error:
            _log.info("cannot resize %s: %s", self.key, error)
            self._timers.retry_later("resize", _PREPARE_FIRST_S, _PREPARE_MAX_S)
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
        if not self._ensure_prepared(actions, observed):
            return
        for start in wanted:
            self._in_flight.spawn(f"start:{start.name}", self._start(start))

    def _may_start(self, start: ContainerStart) -> bool:
        name = f"start:{start.name}"
        return name not in self._in_flight and not self._timers.is_held(name)

    def _ensure_prepared(self, actions: PodActions, observed: PodRuntimeStatus) -> bool:
        """Sandbox and volumes are there, or on their way."""
        if "prepare" in self._in_flight:
            return True
        if self._timers.is_held("prepare"):
            return False
        done = self._prepared
        if not actions.create_sandbox and done is not None and _has_result(done, actions):
            return True
        if done is None and not observed.sandboxes:
            unlimited = self._context.runtime.list_unlimited_resources()
            record_field_events(self._context.recorder, self.document, unlimited)
        self._prepared = asyncio.get_running_loop().create_future()
        self._in_flight.spawn("prepare", self._prepare(self._prepared, actions, observed))
        return True

    async def _prepare(
        self, result: asyncio.Future[PreparedPod], actions: PodActions, observed: PodRuntimeStatus
    ) -> None:
        try:
            if actions.create_sandbox and observed.sandboxes:
                text = "Pod sandbox changed, it will be killed and re-created."
                self._event("Normal", "SandboxChanged", text)
                await self._stopper.stop_sandboxes(observed)
            prepared = await self._starter.prepare_pod(
                self.document,
                self.pod,
                observed,
                create=actions.create_sandbox,
                attempt=actions.sandbox_attempt,
            )
        except Exception as error:
            self._timers.retry_later("prepare", _PREPARE_FIRST_S, _PREPARE_MAX_S)
            _log.info("%s", error, exc_info=None if isinstance(error, PodhostError) else error)
            result.set_exception(PrepareError(str(error)))
            result.exception()  # Seen, even if no container waits for it.
            return
        except BaseException:
            result.cancel()
            raise
        self._timers.forget_retry("prepare")
        result.set_result(prepared)

    async def _start(self, start: ContainerStart) -> None:
        assert self._prepared is not None
        try:
            container_id = await self._starter.start_container(self.document, self.pod, start, self._prepared)
            await self._run_post_start(start.name, container_id)
        except PrepareError:
            return  # Reported by the task that prepares; the next pass comes with its retry.
        except StartFailure as failure:
            self._failures.add(start.name, failure)
        except Exception as error:
            _log.exception("cannot start container %s of %s", start.name, self.key)
            retry = RetryPlan(_UNEXPECTED_RETRY_S)
            self._failures.add(start.name, StartFailure("CreateContainerError", describe_cause(error), retry))
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
        where = format_field_path(self.pod, name)
        self._event("Normal", "BackOff", becomes.message.partition(": ")[0], where)
        self._event("Warning", "Failed", f"Error: {becomes.reason}", where)
        self.request_sync()

    # -- the end --------------------------------------------------------------------------------------------

    def _sync_finished(self, observed: PodRuntimeStatus) -> None:
        """The phase is final: nothing starts any more; what is held is given back."""
        if not has_exited_only(observed) or not self._released:
            self._finish()
        self._write(observed, is_ending=True)
        self._collect_garbage(observed)

    def _finish(self) -> None:
        if not self._released and "finish" not in self._in_flight and not self._timers.is_held("finish"):
            self._in_flight.spawn("finish", self._run_finish())

    async def _run_finish(self) -> None:
        await self._in_flight.cancel("start:", "prepare", "kill:")
        self._prepared = None
        try:
            evicted = self._failure is not None and self._failure.reason == EVICTED
            grace_s = _EVICTION_GRACE_S if evicted else compute_grace_s(self.pod)
            await self._stopper.stop_containers(self.document, self.pod, self.observe(), grace_s)
            await self._stopper.release(self.observe(), self.uid)
        except (PodhostError, OSError) as error:
            self._on_stop_failed("finish", error)
            return
        self._released = True
        self._resizer.forget(self.uid)

    def _sync_terminating(self, observed: PodRuntimeStatus) -> None:
        if "terminate" not in self._in_flight and not self._timers.is_held("terminate"):
            self._grace_s = _FORCED_GRACE_S if self._object_gone else compute_grace_s(self.pod)
            self._in_flight.spawn("terminate", self._run_terminate(self._grace_s))
        elif self._object_gone and (self._grace_s or 0) > _FORCED_GRACE_S:
            self._shorten_to(_FORCED_GRACE_S)
        if not self._object_gone:
            self._write_progress(observed)

    async def _run_terminate(self, grace_s: float) -> None:
        await self._in_flight.cancel("start:", "prepare", "kill:", "finish")
        await self._in_flight.wait("gc")  # It removes log files, as we are about to.
        try:
            await self._stopper.stop_containers(self.document, self.pod, self.observe(), grace_s)
            observed = await self._observe_with_messages()
            if not self._object_gone:
                self._write(observed, is_ending=True)
            await self._stopper.remove(self.pod, observed)
            if not self._object_gone:
                self._stopper.delete_object(self.pod)
        except (PodhostError, OSError) as error:
            self._on_stop_failed("terminate", error)
            return
        self._timers.cancel_all()
        self._probes.end()
        self._resizer.forget(self.uid)
        self._on_end(self.uid)

    def _on_stop_failed(self, name: str, error: Exception) -> None:
        _log.warning("cannot stop pod %s/%s: %s", self.key.namespace, self.key.name, error)
        self._event("Warning", "FailedKillPod", f"error killing pod: {error}")
        self._timers.retry_later(name, _STOP_FIRST_S, _STOP_MAX_S)

    def _shorten_grace(self) -> None:
        if self.pod.metadata.deletion_timestamp and "terminate" in self._in_flight:
            self._shorten_to(compute_grace_s(self.pod))

    def _shorten_to(self, grace_s: float) -> None:
        if self._grace_s is not None and grace_s < self._grace_s:
            self._grace_s = grace_s
            self._in_flight.spawn(f"shorten:{grace_s:g}", self._stopper.shorten_grace(self.observe(), grace_s))

    # -- status ---------------------------------------------------------------------------------------------

    def generate_status(self, observed: PodRuntimeStatus, *, is_ending: bool = False) -> dict[str, Any]:
        """The status as it is now."""
        return generate_pod_status(
            self.pod,
            observed,
            self._status(),
            self._status_context(observed, is_ending=is_ending),
            self._resizer.view(self._updates).conditions,
        )

    def _status_context(self, observed: PodRuntimeStatus, *, is_ending: bool) -> StatusContext:
        context = self._context
        return StatusContext(
            now_ns=context.clock.now_ns(),
            host_ips=context.settings.host_ips,
            backoff=context.settings.container_backoff,
            waiting=self._failures.build_waiting(),
            messages=self._messages,
            view=self._view,
            image_names={c.image_id: self._image_name(c.image_id) for c in observed.containers},
            unresized=self._resizer.view(self._updates).unapplied,
            failure=self._failure,
            is_ending=is_ending,
        )

    def _image_name(self, image_id: str) -> str:
        image = self._context.images.image_status(image_id)
        return image.repo_digests[0] if image is not None and image.repo_digests else str(image_id)

    def _write_progress(self, observed: PodRuntimeStatus) -> None:
        """Write now, or in a moment while more is about to change."""
        loop = asyncio.get_running_loop()
        busy = self._in_flight.any("start:") or self._in_flight.any("terminate")
        wait = self._last_write_s + _PROGRESS_DELAY_S - loop.time()
        if busy and wait > 0:
            if "progress" not in self._timers:
                self._timers.set("progress", wait)
            return
        self._timers.set("progress", None)
        is_ending = bool(self.pod.metadata.deletion_timestamp) and has_exited_only(observed)
        self._write(observed, is_ending=is_ending)

    def _write(self, observed: PodRuntimeStatus, *, is_ending: bool) -> None:
        status = self.generate_status(observed, is_ending=is_ending)
        self._last_write_s = asyncio.get_running_loop().time()
        written = write_status(self._context.store, self.key, self.uid, status, self._context.clock.now_ns())
        if not written and is_static_pod(self.document):
            # Its mirror is gone for a moment: what was said last is in memory only.
            self.document = {**self.document, "status": status}

    def _tell_backoffs(self, actions: PodActions, observed: PodRuntimeStatus) -> None:
        """One BackOff event for each exit that has to wait."""
        for start in actions.backing_off:
            latest = observed.latest(start.name)
            if latest is None or latest.id in self._told_backoff:
                continue
            self._told_backoff.add(latest.id)
            meta = self.pod.metadata
            text = f"Back-off restarting failed container {start.name} in pod {meta.name}_{meta.namespace}({meta.uid})"
            self._event("Warning", "BackOff", text, format_field_path(self.pod, start.name))

    def _collect_garbage(self, observed: PodRuntimeStatus) -> None:
        garbage = compute_garbage(observed)
        may_run = "gc" not in self._in_flight and not self._timers.is_held("gc")
        if garbage and may_run and not self._in_flight.any("start:"):
            self._in_flight.spawn("gc", self._remove_garbage(garbage))

    async def _remove_garbage(self, garbage: Garbage) -> None:
        try:
            await remove_garbage(self._context.runtime, garbage)
        except (PodhostError, OSError) as error:
            _log.warning("cannot remove dead containers of %s: %s", self.key, error)
            self._timers.retry_later("gc", _STOP_FIRST_S, _STOP_MAX_S)
            return
        self._timers.forget_retry("gc")
        for container_id in garbage.containers:
            self._messages.pop(container_id, None)
            self._told_backoff.discard(container_id)

    async def remove_dead_containers(self) -> None:
        """The node needs the disk: what is left of a finished pod goes, with its logs; the status stays."""
        if self.mode != "finished" or not self._released or "gc" in self._in_flight:
            return
        observed = self.observe()
        garbage = Garbage(tuple(c.id for c in observed.containers), tuple(s.id for s in observed.sandboxes))
        if garbage:
            self._in_flight.spawn("gc", self._remove_garbage(garbage))
            await self._in_flight.wait("gc")

    # -- small things ---------------------------------------------------------------------------------------

    def _event(self, type_: Any, reason: str, message: str, where: str = "") -> None:
        self._context.recorder.event(self.document, type_, reason, message, field_path=where)

    def _delay_until(self, at_ns: int | None) -> float | None:
        return None if at_ns is None else max(0.0, (at_ns - self._context.clock.now_ns()) / 1e9)


def _has_result(task: asyncio.Future[PreparedPod], actions: PodActions) -> bool:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return False
    return task.result().sandbox_id == actions.sandbox_id


def _stable_meta(document: Document) -> dict[str, Any]:
    """Metadata that a pass depends on."""
    meta = document["metadata"]
    keys = ("uid", "labels", "annotations", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers")
    return {key: meta.get(key) for key in keys}


def _time_ns(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        return int(parse_time(text).timestamp() * 1_000_000_000)
    except ValueError:
        return None
