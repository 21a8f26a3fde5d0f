"""``status.conditions`` of a pod, with Kubernetes' reasons and texts.  Pure.

After kubernetes 1.37 pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import models
from podhost.api.time import format_time
from podhost.kubelet.go_format import format_names, quote
from podhost.kubelet.pod_actions import is_sidecar
from podhost.kubelet.restart_policy import has_restart_all_rule

RESIZE_PENDING, RESIZE_IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
RESIZE_CONDITIONS = (RESIZE_PENDING, RESIZE_IN_PROGRESS)
OWNED_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "AllContainersRestarting",
    *RESIZE_CONDITIONS,
)
Statuses = Sequence[Mapping[str, Any]]
_Verdict = tuple[str, str, str]
"""status, reason, message"""


def build_conditions(
    pod: models.Pod,
    *,
    phase: str,
    sandbox_ready: bool,
    init_statuses: Statuses,
    statuses: Statuses,
    previous: Sequence[Mapping[str, Any]],
    now_ns: int,
    restarting_all: bool = False,
) -> list[dict[str, Any]]:
    """Owned conditions first, then those of others unchanged; transition times are kept where nothing changed."""
    old = {str(c.get("type")): c for c in previous}
    containers_ready = compute_containers_ready(pod, phase, init_statuses, statuses)
    verdicts: dict[str, _Verdict] = {
        "PodReadyToStartContainers": ("True" if sandbox_ready else "False", "", ""),
        "Initialized": compute_initialized(pod, phase, init_statuses, statuses, old.get("Initialized")),
        "Ready": compute_ready(pod, containers_ready, old),
        "ContainersReady": containers_ready,
        "PodScheduled": ("True", "", ""),
    }
    if has_restart_all_rule(pod):
        verdicts["AllContainersRestarting"] = compute_restarting_all(phase, restarting=restarting_all)
    now = format_time(now_ns)
    result = [
        _build_condition(name, verdict, old.get(name), now, pod.metadata.generation)
        for name, verdict in verdicts.items()
    ]
    return result + [dict(c) for name, c in old.items() if name not in verdicts]


def _build_condition(
    name: str, verdict: _Verdict, old: Mapping[str, Any] | None, now: str, generation: int | None
) -> dict[str, Any]:
    status, reason, message = verdict
    changed = old is None or old.get("status") != status
    condition: dict[str, Any] = {"type": name}
    if generation:
        condition["observedGeneration"] = generation
    condition["status"] = status
    condition["lastProbeTime"] = None
    condition["lastTransitionTime"] = now if changed or old is None else old.get("lastTransitionTime") or now
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _find(statuses: Statuses, name: str) -> Mapping[str, Any] | None:
    return next((s for s in statuses if s.get("name") == name), None)


def compute_containers_ready(pod: models.Pod, phase: str, init_statuses: Statuses, statuses: Statuses) -> _Verdict:
    """All app containers and sidecars ready?"""
    unknown: list[str] = []
    unready: list[str] = []
    wanted = [(c.name, init_statuses) for c in pod.spec.init_containers if is_sidecar(c)]
    wanted += [(c.name, statuses) for c in pod.spec.containers]
    for name, source in wanted:
        status = _find(source, name)
        if status is None:
            unknown.append(name)
        elif not status.get("ready"):
            unready.append(name)
    if phase == "Succeeded" and not unknown:
        return "False", "PodCompleted", ""
    if phase == "Failed" and not unknown:
        return "False", "PodFailed", ""
    texts = []
    if unknown:
        texts.append(f"containers with unknown status: {format_names(unknown)}")
    if unready:
        texts.append(f"containers with unready status: {format_names(unready)}")
    return ("False", "ContainersNotReady", ", ".join(texts)) if texts else ("True", "", "")


def compute_ready(pod: models.Pod, containers_ready: _Verdict, conditions: Mapping[str, Mapping[str, Any]]) -> _Verdict:
    """Containers ready, and every readiness gate open."""
    if containers_ready[0] != "True":
        return containers_ready
    texts = []
    for gate in pod.spec.readiness_gates:
        name = gate.condition_type
        condition = conditions.get(name)
        if condition is None:
            texts.append(f"corresponding condition of pod readiness gate {quote(name)} does not exist.")
        elif condition.get("status") != "True":
            texts.append(f'the status of pod readiness gate {quote(name)} is not "True", but {condition.get("status")}')
    return ("False", "ReadinessGatesNotReady", ", ".join(texts)) if texts else ("True", "", "")


def compute_restarting_all(phase: str, *, restarting: bool) -> _Verdict:
    """Is the pod between two rounds (KEP-5532)?"""
    if phase == "Succeeded":
        return "False", "PodCompleted", ""
    if phase == "Failed":
        return "False", "PodFailed", ""
    if restarting:
        return "True", "RestartAllContainersStarted", "container exited with restart policy rule"
    return "False", "", ""


def compute_initialized(
    pod: models.Pod,
    phase: str,
    init_statuses: Statuses,
    statuses: Statuses,
    old: Mapping[str, Any] | None = None,
) -> _Verdict:
    """All init containers completed, sidecars started?"""
    unknown: list[str] = []
    incomplete: list[str] = []
    for container in pod.spec.init_containers:
        status = _find(init_statuses, container.name)
        if status is None:
            unknown.append(container.name)
        elif not status.get("started" if is_sidecar(container) else "ready"):
            incomplete.append(container.name)
    if phase == "Succeeded" and not unknown:
        return "True", "PodCompleted", ""
    # A sidecar that is being restarted does not undo the initialisation.
    # Nor do init containers that run again because all containers are restarted.
    if any(_has_started(s) for s in statuses) or (old is not None and old.get("status") == "True"):
        return "True", "", ""
    texts = []
    if unknown:
        texts.append(f"containers with unknown status: {format_names(unknown)}")
    if incomplete:
        texts.append(f"containers with incomplete status: {format_names(incomplete)}")
    return ("False", "ContainersNotInitialized", ", ".join(texts)) if texts else ("True", "", "")


def _has_started(status: Mapping[str, Any]) -> bool:
    if status.get("started") or "terminated" in (status.get("lastState") or {}):
        return True
    state = status.get("state") or {}
    return "running" in state or "terminated" in state
