"""What has to be done for a pod next.  Pure: facts in, actions out.

The order is that of the kubelet's ``computePodActions`` (kubernetes 1.37, pkg/kubelet/kuberuntime)::

    no usable sandbox ──▶ (re)create it, start again with the first init container
    init containers   ──▶ one after another; sidecars (restartPolicy Always) do not block, and are restarted
    app containers    ──▶ all at once; dead ones again as the restart policy says, after their back-off
    nothing to keep and nothing to start ──▶ kill the pod: it is finished

Whether a pod is initialised is read from what was *created* in its sandbox, never from what runs now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from podhost.api import models
from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.kubelet.restart_policy import (
    compute_round,
    may_restart,
    read_round,
    restarts_after,
    should_restart,
)
from podhost.kubelet.runtime_status import LABEL_BACKOFF_S, LABEL_SPEC_HASH, PodRuntimeStatus
from podhost.kubelet.settings import BackoffSettings
from podhost.kubelet.sysctls import find_forbidden_sysctl

NS_PER_S = 1_000_000_000
ContainerKind = Literal["init", "app", "ephemeral"]
AnyContainer = models.Container | models.EphemeralContainer


@dataclass(frozen=True, slots=True)
class LifecycleView:
    """What probes and hooks have found, by container id: later rows of the same decision."""

    liveness_failed: frozenset[ContainerId] = frozenset()
    startup_failed: frozenset[ContainerId] = frozenset()
    not_started: frozenset[ContainerId] = frozenset()
    """Running, but the startup probe or postStart hook has not succeeded yet."""
    not_ready: frozenset[ContainerId] = frozenset()
    """Started, but the readiness probe does not say so."""
    resized: frozenset[ContainerId] = frozenset()
    """Running with other limits than it should, and to be restarted for them."""
    in_post_start: frozenset[ContainerId] = frozenset()
    """Running, and its postStart hook has not returned: to the user it is being created still."""
    killed_to_restart: frozenset[ContainerId] = frozenset()
    """Killed in order to be started again: whatever the exit code, and whatever the restart policy."""


@dataclass(frozen=True, slots=True)
class ContainerStart:
    """One container to create and start."""

    name: str
    kind: ContainerKind
    attempt: int
    backoff_s: float = 0.0
    """Delay that its own exit will cause; persisted with it."""
    replaces: ContainerId | None = None
    """A container that was created and never started: removed first."""
    not_before_ns: int = 0
    round: int = 0
    """How often all containers of the pod have been restarted together."""


@dataclass(frozen=True, slots=True)
class ContainerKill:
    """One container to stop, with the text of its Killing event."""

    id: ContainerId
    name: str
    message: str
    reason: Literal[
        "",
        "Unknown",
        "LivenessProbe",
        "StartupProbe",
        "SpecChanged",
        "RestartAllContainers",
        "FailedPostStartHook",
        "Resize",
    ] = ""
    grace_s: float | None = None
    """Patience with it; ``None``: as the pod says."""
    will_restart: bool = False
    """Started again after it, whatever its exit code: the kubelet kills and starts in one pass."""


SYSCTL_FORBIDDEN = "SysctlForbidden"


@dataclass(frozen=True, slots=True)
class PodFailure:
    """Why the kubelet itself ends a pod."""

    reason: str
    message: str
    """Of the event."""
    grace_s: float | None = None
    """How long its containers may take to end; ``None``: as long as the pod says."""
    is_rejection: bool = False
    """It has not been taken up at all."""

    @property
    def status_message(self) -> str:
        return f"Pod was rejected: {self.message}" if self.is_rejection else self.message


@dataclass(frozen=True, slots=True)
class PodActions:
    """One step towards the wanted state.  All parts may be carried out concurrently, kills first."""

    create_sandbox: bool = False
    sandbox_id: SandboxId | None = None
    sandbox_attempt: int = 0
    kill_pod: bool = False
    failure: PodFailure | None = None
    start: tuple[ContainerStart, ...] = ()
    backing_off: tuple[ContainerStart, ...] = ()
    """To be started, but not yet; the status shows CrashLoopBackOff."""
    kill: tuple[ContainerKill, ...] = ()
    requeue_at_ns: int | None = None


def compute_pod_actions(
    pod: models.Pod,
    observed: PodRuntimeStatus,
    now_ns: int,
    backoff: BackoffSettings,
    *,
    view: LifecycleView | None = None,
    started_at_ns: int | None = None,
    unsafe_sysctls: tuple[str, ...] = (),
) -> PodActions:
    """Decide the next step of a pod that is neither being deleted nor finished.

    Args:
        pod: Wanted state.
        observed: What the runtime has recorded.
        now_ns: Nanoseconds since the epoch.
        backoff: Delays between restarts of a container.
        view: Results of probes and hooks.
        started_at_ns: The pod's ``status.startTime``, for ``activeDeadlineSeconds``.
        unsafe_sysctls: What it may set beside the safe ones.
    """
    deadline_ns = compute_deadline_ns(pod, started_at_ns)
    if deadline_ns is not None and now_ns >= deadline_ns:
        return PodActions(
            kill_pod=True,
            failure=PodFailure("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
        )
    if (forbidden := find_forbidden_sysctl(pod, unsafe_sysctls)) is not None:
        return PodActions(kill_pod=True, failure=PodFailure(SYSCTL_FORBIDDEN, forbidden, is_rejection=True))
    sandbox = observed.ready_sandbox
    if sandbox is None:
        actions = _compute_new_sandbox(pod, observed)
    else:
        decision = _Decision(pod, observed, sandbox.id, backoff, view or LifecycleView(), compute_round(pod, observed))
        actions = decision.compute()
    actions = _in_round(actions, compute_round(pod, observed))
    return _split_by_time(actions, now_ns, deadline_ns)


def _in_round(actions: PodActions, number: int) -> PodActions:
    """An ephemeral container belongs to none."""
    starts = tuple(s if s.kind == "ephemeral" else replace(s, round=number) for s in actions.start)
    return replace(actions, start=starts)


def compute_deadline_ns(pod: models.Pod, started_at_ns: int | None) -> int | None:
    """When ``activeDeadlineSeconds`` ends the pod."""
    seconds = pod.spec.active_deadline_seconds
    if seconds is None or started_at_ns is None:
        return None
    return started_at_ns + int(seconds) * NS_PER_S


def compute_spec_hash(container: AnyContainer) -> str:
    """Changes when a running container must be replaced: only its image is mutable (as in Kubernetes)."""
    return hashlib.sha256(f"{container.name}\0{container.image or ''}".encode()).hexdigest()[:16]


def is_sidecar(container: models.Container) -> bool:
    """Whether an init container is restartable (KEP-753)."""
    return container.restart_policy == "Always"


def compute_backoff_s(status: ContainerStatus) -> float:
    """Delay after the exit of ``status``, as decided when it was created."""
    try:
        return float(status.labels.get(LABEL_BACKOFF_S, "0"))
    except ValueError:
        return 0.0


def compute_restart_at_ns(container: AnyContainer, status: ContainerStatus, backoff: BackoffSettings) -> int:
    """When an exited container may start again; the first restart is immediate, as is one with another image."""
    if _is_forgiven(status, backoff) or _has_changed(container, status):
        return 0
    return status.finished_at_ns + int(compute_backoff_s(status) * NS_PER_S)


def _is_forgiven(status: ContainerStatus, backoff: BackoffSettings) -> bool:
    return status.finished_at_ns - status.created_at_ns > backoff.reset_after_s * NS_PER_S


def _has_changed(container: AnyContainer, status: ContainerStatus) -> bool:
    """Was ``status`` of another image?  Its failures are not those of the new one."""
    wanted = compute_spec_hash(container)
    return status.labels.get(LABEL_SPEC_HASH, wanted) != wanted


def _next_backoff_s(container: AnyContainer, status: ContainerStatus, backoff: BackoffSettings) -> float:
    current = compute_backoff_s(status)
    if current <= 0 or _is_forgiven(status, backoff) or _has_changed(container, status):
        return backoff.initial_s
    return min(current * 2, backoff.max_s)


def build_start(
    container: models.Container, kind: ContainerKind, latest: ContainerStatus | None, backoff: BackoffSettings
) -> ContainerStart:
    """The start that follows ``latest``: attempt number, back-off and earliest time."""
    if latest is None:
        return ContainerStart(container.name, kind, 0)
    if latest.state is ContainerState.CREATED:
        # Created by a daemon that died before the start: nothing has run, so the attempt is not used up.
        return ContainerStart(container.name, kind, latest.attempt, compute_backoff_s(latest), replaces=latest.id)
    if latest.state is ContainerState.EXITED:
        return ContainerStart(
            container.name,
            kind,
            latest.attempt + 1,
            _next_backoff_s(container, latest, backoff),
            not_before_ns=compute_restart_at_ns(container, latest, backoff),
        )
    return ContainerStart(container.name, kind, latest.attempt + 1, compute_backoff_s(latest))


def _compute_new_sandbox(pod: models.Pod, observed: PodRuntimeStatus) -> PodActions:
    """No sandbox is ready: create one, unless the pod has had its life."""
    old = observed.sandbox
    attempt = old.attempt + 1 if old else 0
    base = PodActions(kill_pod=old is not None, sandbox_attempt=attempt)
    containers = pod.spec.containers
    # A container that was created and never started leaves no trace of a life.
    lived = [c for c in observed.containers if c.state is not ContainerState.CREATED]
    if attempt and lived and not any(may_restart(pod, c) for c in containers):
        return base
    number = compute_round(pod, observed)
    pending = [c for c in containers if _is_wanted_again(pod, c, observed.latest(c.name), number)]
    if not pending and any(observed.latest(c.name) for c in containers):
        return base
    base = replace(base, create_sandbox=True)
    if pod.spec.init_containers:
        return replace(base, start=(_start_in_new_sandbox(pod.spec.init_containers[0], "init", observed),))
    return replace(base, start=tuple(_start_in_new_sandbox(c, "app", observed) for c in pending))


def _is_wanted_again(pod: models.Pod, container: models.Container, latest: ContainerStatus | None, number: int) -> bool:
    """Is it to be in a new sandbox?  The loss of the old one may have killed it, which is no exit of its own."""
    if latest is None or latest.state is not ContainerState.EXITED or read_round(latest) < number:
        return True
    return restarts_after(pod, container, latest.exit_code)


def _start_in_new_sandbox(
    container: models.Container, kind: ContainerKind, observed: PodRuntimeStatus
) -> ContainerStart:
    """The loss of a sandbox is not the container's fault: no delay, but the attempt counts on."""
    latest = observed.latest(container.name)
    if latest is None:
        return ContainerStart(container.name, kind, 0)
    if latest.state is ContainerState.CREATED:
        return ContainerStart(container.name, kind, latest.attempt, replaces=latest.id)
    return ContainerStart(container.name, kind, latest.attempt + 1, compute_backoff_s(latest))


def _succeeded(status: ContainerStatus | None) -> bool:
    return status is not None and status.state is ContainerState.EXITED and status.exit_code == 0


def _kill_unknown(status: ContainerStatus | None, what: str) -> tuple[ContainerKill, ...]:
    if status is None or status.state is not ContainerState.UNKNOWN:
        return ()
    text = f'{what} is in "unknown" state, try killing it before restart'
    return (ContainerKill(status.id, status.name, text, "Unknown"),)


@dataclass(frozen=True, slots=True)
class _InitActions:
    """What the init containers need."""

    starts: tuple[ContainerStart, ...] = ()
    kills: tuple[ContainerKill, ...] = ()
    is_done: bool = False
    """The pod is initialised: its app containers may start."""
    failed: bool = False
    """One has failed for good."""


@dataclass(slots=True)
class _Decision:
    """One evaluation for a pod whose sandbox is ready."""

    pod: models.Pod
    observed: PodRuntimeStatus
    sandbox_id: SandboxId
    backoff: BackoffSettings
    view: LifecycleView
    round: int

    def compute(self) -> PodActions:
        actions = PodActions(sandbox_id=self.sandbox_id)
        if leftovers := tuple(self._kills_of_ended_round()):
            return replace(actions, kill=leftovers)
        ephemeral = tuple(self._ephemeral_starts())
        init = self._init_actions()
        if init.failed:
            return replace(actions, kill_pod=True)
        if not init.is_done:
            return replace(actions, start=init.starts + ephemeral, kill=init.kills)
        starts, kills, kept = self._app_actions()
        if not kept and not starts:
            # Sidecars must not keep a finished pod alive.
            return replace(actions, kill_pod=True)
        return replace(actions, start=init.starts + starts + ephemeral, kill=init.kills + kills)

    def _latest(self, name: str) -> ContainerStatus | None:
        """The newest of its name in this sandbox and round."""
        found = self.observed.latest_in(self.sandbox_id, name)
        return found if found is not None and read_round(found) >= self.round else None

    def _kills_of_ended_round(self) -> Iterator[ContainerKill]:
        """RestartAllContainers: what still runs ends at once, without preStop hooks, before anything starts."""
        for container in (*self.pod.spec.init_containers, *self.pod.spec.containers):
            status = self.observed.latest_in(self.sandbox_id, container.name)
            running = status is not None and status.state in (ContainerState.RUNNING, ContainerState.UNKNOWN)
            if status is not None and running and read_round(status) < self.round:
                text = f"Stopping container {container.name}"
                yield ContainerKill(status.id, container.name, text, "RestartAllContainers", grace_s=0)

    def _ended_before(self, container: models.Container) -> ContainerStatus | None:
        """Its end in an earlier sandbox."""
        latest = self.observed.latest(container.name)
        ended = latest is not None and latest.state is ContainerState.EXITED and read_round(latest) >= self.round
        return latest if ended else None

    def _build_start(self, container: models.Container, kind: ContainerKind) -> ContainerStart:
        current = self._latest(container.name)
        if current is None:
            return _start_in_new_sandbox(container, kind, self.observed)
        return build_start(container, kind, current, self.backoff)

    def _ephemeral_starts(self) -> Iterator[ContainerStart]:
        spec = self.pod.spec
        for container in spec.ephemeral_containers:
            # Never restarted: one that has existed in any sandbox is done.
            if self.observed.latest(container.name) is None:
                yield ContainerStart(container.name, "ephemeral", 0)

    def _init_actions(self) -> _InitActions:
        """From the furthest init container that was created: those before it have had their turn."""
        inits = self.pod.spec.init_containers
        if any(self._latest(c.name) for c in self.pod.spec.containers):
            return self._keep_sidecars(inits, _InitActions(is_done=True))
        reached = max((i for i, c in enumerate(inits) if self._latest(c.name)), default=-1)
        current = self._current_init(inits[reached]) if reached >= 0 else _InitActions(is_done=True)
        if current.is_done and reached + 1 < len(inits):
            following = self._build_start(inits[reached + 1], "init")
            current = replace(current, starts=(*current.starts, following), is_done=False)
        return self._keep_sidecars(inits[: max(reached, 0)], current)

    def _current_init(self, container: models.Container) -> _InitActions:
        """``is_done``: the next one may start."""
        status = self._latest(container.name)
        assert status is not None
        if is_sidecar(container):
            actions = self._keep_sidecars((container,), _InitActions())
            waits = status.id in self.view.not_started or status.id in self.view.startup_failed
            return replace(actions, is_done=status.state is ContainerState.RUNNING and not waits)
        if status.state is ContainerState.RUNNING:
            return _InitActions()
        if _succeeded(status):
            return _InitActions(is_done=True)
        never_again = not may_restart(self.pod, container)
        if (status.state is ContainerState.UNKNOWN and never_again) or not should_restart(self.pod, container, status):
            return _InitActions(failed=True)
        return _InitActions(
            starts=(self._build_start(container, "init"),), kills=_kill_unknown(status, "Init container")
        )

    def _keep_sidecars(self, inits: tuple[models.Container, ...], others: _InitActions) -> _InitActions:
        """``others`` after what keeps the sidecars among ``inits`` running and sound."""
        starts: list[ContainerStart] = []
        kills: list[ContainerKill] = []
        for container in filter(is_sidecar, inits):
            status = self._latest(container.name)
            if status is not None and status.state is ContainerState.RUNNING:
                kills.extend(self._kill_of_sidecar(container, status))
                continue
            starts.append(self._build_start(container, "init"))
            kills.extend(_kill_unknown(status, "Init container"))
        return replace(others, starts=(*starts, *others.starts), kills=(*kills, *others.kills))

    def _kill_of_sidecar(self, container: models.Container, status: ContainerStatus) -> Iterator[ContainerKill]:
        """It starts again when its exit is seen."""
        name, title = container.name, f"Init container {container.name}"
        waits = status.id in self.view.not_started and status.id not in self.view.startup_failed
        if not waits and _has_changed(container, status):
            yield ContainerKill(status.id, name, f"{title} definition changed", "SpecChanged")
        elif (kill := self._kill_by_probe(title, container, status)) is not None:
            yield kill
        elif status.id in self.view.resized:
            yield ContainerKill(status.id, name, f"Container {name} resize requires restart", "Resize")

    def _app_actions(self) -> tuple[tuple[ContainerStart, ...], tuple[ContainerKill, ...], int]:
        spec = self.pod.spec
        starts: list[ContainerStart] = []
        kills: list[ContainerKill] = []
        kept = 0
        for container in spec.containers:
            status = self._latest(container.name)
            if status is None or status.state is not ContainerState.RUNNING:
                # What it has done in an earlier sandbox counts: a success stays one.
                killed = status is not None and status.id in self.view.killed_to_restart
                if killed or should_restart(self.pod, container, status or self._ended_before(container)):
                    starts.append(self._build_start(container, "app"))
                    kills.extend(_kill_unknown(status, "Container"))
                continue
            kill, restart = self._kill_of_running(container, status)
            if kill is None:
                kept += 1
                continue
            if restart:
                if kill.reason != "Resize":
                    kill = replace(kill, message=f"{kill.message}, will be restarted")
                kill = replace(kill, will_restart=True)
                kept += 1  # Started when its exit is seen: one pass kills, the next one starts.
            kills.append(kill)
        return tuple(starts), tuple(kills), kept

    def _kill_of_running(
        self, container: models.Container, status: ContainerStatus
    ) -> tuple[ContainerKill | None, bool]:
        restart = may_restart(self.pod, container)
        name = container.name
        if _has_changed(container, status):
            return ContainerKill(status.id, name, f"Container {name} definition changed", "SpecChanged"), True
        if status.id in self.view.resized:
            return ContainerKill(status.id, name, f"Container {name} resize requires restart", "Resize"), True
        return self._kill_by_probe(f"Container {name}", container, status), restart

    def _kill_by_probe(self, title: str, container: models.Container, status: ContainerStatus) -> ContainerKill | None:
        name = container.name
        if status.id in self.view.liveness_failed:
            grace = _probe_grace_s(self.pod, container.liveness_probe)
            return ContainerKill(status.id, name, f"{title} failed liveness probe", "LivenessProbe", grace)
        if status.id in self.view.startup_failed:
            grace = _probe_grace_s(self.pod, container.startup_probe)
            return ContainerKill(status.id, name, f"{title} failed startup probe", "StartupProbe", grace)
        return None


def _probe_grace_s(pod: models.Pod, probe: models.Probe | None) -> float | None:
    """Patience with a container that a probe has failed; ``None``: as with any other."""
    own = probe.termination_grace_period_seconds if probe is not None else None
    if own is None or pod.metadata.deletion_grace_period_seconds is not None:
        return None
    return float(own)


def _split_by_time(actions: PodActions, now_ns: int, deadline_ns: int | None) -> PodActions:
    """Separate what starts now from what backs off, and say when to look again."""
    now = tuple(s for s in actions.start if s.not_before_ns <= now_ns)
    later = tuple(s for s in actions.start if s.not_before_ns > now_ns)
    times = [s.not_before_ns for s in later]
    if deadline_ns is not None:
        times.append(deadline_ns)
    return replace(actions, start=now, backing_off=later, requeue_at_ns=min(times, default=None))
