"""A pod's ``status`` from facts: the runtime's records, the previous status, failures to start.  Pure.

Phases, after the kubelet's ``getPhase``::

    Pending ──all init done, every app container created──▶ Running
    Running ──all exited, and the restart policy is satisfied──▶ Succeeded | Failed      (final)
    Pending ──an init container failed and the policy is Never──▶ Failed                  (final)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from podhost.api import models
from podhost.api.time import format_time
from podhost.cri.runtime import ContainerState
from podhost.kubelet.container_status import StatusContext, build_container_status
from podhost.kubelet.pod_actions import AnyContainer, is_sidecar
from podhost.kubelet.pod_conditions import RESIZE_CONDITIONS, build_conditions
from podhost.kubelet.qos import compute_qos_class
from podhost.kubelet.restart_policy import compute_round, is_restarting_all, read_round, restarts_after
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.status_limits import end_containers, limit_messages

TERMINAL_PHASES = ("Succeeded", "Failed")
Statuses = Sequence[Mapping[str, Any]]


def generate_pod_status(
    pod: models.Pod,
    observed: PodRuntimeStatus,
    previous: Mapping[str, Any],
    context: StatusContext,
    resize_conditions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The whole ``status`` as a JSON document.

    Args:
        pod: The pod as the API has it.
        observed: Facts of the runtime.
        previous: The status written last; its times, foreign conditions and final phase are kept.
        context: Time, addresses and failures to start.
        resize_conditions: What is said of a resize; all else that was said of one goes.
    """
    if _is_rejected(previous, observed) or (context.failure is not None and context.failure.is_rejection):
        return _build_rejected(pod, previous, context)
    spec = pod.spec
    default_waiting = "PodInitializing" if spec.init_containers else "ContainerCreating"

    def build(containers: Sequence[AnyContainer], field: str, kind: str, waiting: str) -> list[dict[str, Any]]:
        old = {str(s.get("name")): s for s in previous.get(field) or ()}
        return [
            build_container_status(pod, c, observed, old.get(c.name), context, kind=kind, default_waiting=waiting)
            for c in containers
        ]

    init = build(spec.init_containers, "initContainerStatuses", "init", default_waiting)
    apps = build(spec.containers, "containerStatuses", "app", default_waiting)
    ephemeral = build(spec.ephemeral_containers, "ephemeralContainerStatuses", "ephemeral", default_waiting)
    if has_ended := context.is_ending and not observed.running():
        init, apps = end_containers(pod, init, apps)
    phase = compute_phase(pod, init, apps, previous, context, observed)
    if has_ended and phase not in TERMINAL_PHASES:
        phase = "Failed"
    init, apps, ephemeral = (limit_messages(pod, statuses) for statuses in (init, apps, ephemeral))
    status = _build_head(pod, observed, previous, context, phase)
    status["conditions"] = build_conditions(
        pod,
        phase=phase,
        sandbox_ready=observed.ready_sandbox is not None,
        init_statuses=init,
        statuses=apps,
        previous=[c for c in previous.get("conditions") or () if c.get("type") not in RESIZE_CONDITIONS],
        now_ns=context.now_ns,
        restarting_all=not context.is_ending and is_restarting_all(pod, observed),
    )
    status["conditions"] += map(dict, resize_conditions)
    if pod.spec.resources:
        status["resources"] = msgspec.to_builtins(pod.spec.resources)
        status["allocatedResources"] = dict(pod.spec.resources.requests)
    if init:
        status["initContainerStatuses"] = init
    status["containerStatuses"] = sorted(apps, key=lambda s: str(s["name"]))
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    # What others have written (nominatedNodeName, resize …) is theirs.
    return {**{k: v for k, v in previous.items() if k not in _OWNED_FIELDS}, **status}


_OWNED_FIELDS = frozenset(
    {
        "phase", "reason", "message", "hostIP", "hostIPs", "podIP", "podIPs", "startTime", "qosClass",
        "observedGeneration", "conditions", "containerStatuses", "initContainerStatuses",
        "ephemeralContainerStatuses", "resources", "allocatedResources",
    }
)  # fmt: skip


def _is_rejected(previous: Mapping[str, Any], observed: PodRuntimeStatus) -> bool:
    """Has the pod failed before there was anything to say of its containers?"""
    return previous.get("phase") == "Failed" and not previous.get("containerStatuses") and not observed.containers


def _build_rejected(pod: models.Pod, previous: Mapping[str, Any], context: StatusContext) -> dict[str, Any]:
    """Of a pod that the kubelet did not take up: no more than that (``rejectPod``)."""
    status: dict[str, Any] = {k: v for k, v in previous.items() if k not in _OWNED_FIELDS}
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    return {
        **status,
        "phase": "Failed",
        **_build_reason(previous, context, "Failed"),
        "startTime": previous.get("startTime") or format_time(context.now_ns),
        "qosClass": previous.get("qosClass") or compute_qos_class(pod),
        "conditions": [],
    }


def _build_head(
    pod: models.Pod,
    observed: PodRuntimeStatus,
    previous: Mapping[str, Any],
    context: StatusContext,
    phase: str,
) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    status["phase"] = phase
    status.update(_build_reason(previous, context, phase))
    if context.host_ips:
        status["hostIP"] = context.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in context.host_ips]
    ips = compute_pod_ips(pod, observed, previous, context)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    status["startTime"] = previous.get("startTime") or format_time(context.now_ns)
    status["qosClass"] = previous.get("qosClass") or compute_qos_class(pod)
    return status


def _build_reason(previous: Mapping[str, Any], context: StatusContext, phase: str) -> dict[str, str]:
    if context.failure is not None:
        return {"reason": context.failure.reason, "message": context.failure.status_message}
    if previous.get("phase") == phase:  # They belong to the phase, whoever has written them.
        return {k: previous[k] for k in ("reason", "message") if previous.get(k)}
    return {}


def compute_pod_ips(
    pod: models.Pod, observed: PodRuntimeStatus, previous: Mapping[str, Any], context: StatusContext
) -> tuple[str, ...]:
    """Addresses of the pod; a finished pod keeps those it had."""
    sandbox = observed.sandbox
    if sandbox is not None:
        if sandbox.host_network or pod.spec.host_network:
            return context.host_ips[:1]
        if sandbox.ips:
            return sandbox.ips
    if previous.get("podIPs"):
        return tuple(str(entry["ip"]) for entry in previous["podIPs"])
    return ()


def compute_phase(
    pod: models.Pod,
    init_statuses: Statuses,
    statuses: Statuses,
    previous: Mapping[str, Any],
    context: StatusContext,
    observed: PodRuntimeStatus,
) -> str:
    """Pending, Running, Succeeded or Failed.  A final phase never changes again."""
    old = previous.get("phase")
    if old in TERMINAL_PHASES:
        return str(old)
    if context.failure is not None and not any(_is_running(s) for s in (*init_statuses, *statuses)):
        return "Failed"
    pending, lost = _count_init(pod, init_statuses, statuses, observed)
    if lost:
        return "Failed"
    running = sum(_is_running(s) for s in statuses)
    stopped = [e for s in statuses if (e := _exit_of(s)) is not None]
    if pending or running + len(stopped) < len(statuses):
        return "Pending"
    if running:
        return "Running"
    sidecars_run = any(_is_running(s) for s in init_statuses)
    final = "Failed" if any(stopped) else "Succeeded"
    if context.is_ending and not sidecars_run:
        return final
    return "Running" if sidecars_run or _comes_back(pod, statuses, observed, context) else final


def _comes_back(pod: models.Pod, statuses: Statuses, observed: PodRuntimeStatus, context: StatusContext) -> bool:
    """Whether one of the containers, none of which runs, is to be started again."""
    present = compute_round(pod, observed)
    for container, status in zip(pod.spec.containers, statuses, strict=True):
        latest = observed.latest(container.name)
        if latest is not None and (latest.state is not ContainerState.EXITED or read_round(latest) < present):
            return True
        if latest is not None and latest.id in context.view.killed_to_restart:
            return True
        if restarts_after(pod, container, _exit_of(status) or 0):
            return True
    return False


def _is_running(status: Mapping[str, Any]) -> bool:
    return "running" in status["state"]


def _exit_of(status: Mapping[str, Any]) -> int | None:
    """Exit code of a container that has run and does not run now."""
    for state in (status["state"], status["lastState"]):
        if "running" in state:
            return None
        if "terminated" in state:
            return int(state["terminated"]["exitCode"])
    return None


def _count_init(
    pod: models.Pod, init_statuses: Statuses, statuses: Statuses, observed: PodRuntimeStatus
) -> tuple[int, int]:
    """Init containers: those pending, those that have failed for good.

    One that runs again after the sandbox was lost takes the pod back to Pending; one that RestartAllContainers runs
    again does not.  Nor does a sidecar, once an app container has been started: the pod was initialised, whatever its
    sidecars do now.
    """
    initialised = any(_is_running(s) or _exit_of(s) is not None for s in statuses)
    present = compute_round(pod, observed)
    in_later_round = initialised and present > 0
    pending = lost = 0
    for container, status in zip(pod.spec.init_containers, init_statuses, strict=True):
        code = _exit_of(status)
        if is_sidecar(container):
            pending += not initialised and not status["started"]
        elif code is None:
            pending += not in_later_round
        elif code != 0:
            latest = observed.latest(container.name)
            # Its last exit may be that of an ended round, also when it has been created anew.
            again = latest is not None and (latest.state is not ContainerState.EXITED or read_round(latest) < present)
            lost += not again and not restarts_after(pod, container, code)
    return pending, lost


def is_terminal(status: Mapping[str, Any]) -> bool:
    """Whether a status says that the pod is finished."""
    return status.get("phase") in TERMINAL_PHASES


def has_exited_only(observed: PodRuntimeStatus) -> bool:
    """Whether nothing of the pod runs any more."""
    return all(c.state in (ContainerState.EXITED, ContainerState.CREATED) for c in observed.containers)
