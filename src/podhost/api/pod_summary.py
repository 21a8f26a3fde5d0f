"""The STATUS, READY and RESTARTS of a pod as ``kubectl get pods`` shows them (``pkg/printers/internalversion``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api.objects import is_terminal


@dataclass(frozen=True, slots=True)
class PodSummary:
    """What the table shows.  ``last_restart`` is empty without one."""

    status: str
    ready: int
    total: int
    restarts: int
    last_restart: str


@dataclass(slots=True)
class _Restarts:
    """Restarts of some containers and the end of the latest run before."""

    count: int = 0
    last: str = ""

    def add(self, status: Mapping[str, Any]) -> None:
        self.count += status.get("restartCount") or 0
        ended = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last = max(self.last, ended)


def summarize_pod(pod: Mapping[str, Any]) -> PodSummary:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    init_reason, ready, restarts, sidecar_restarts = _summarize_init(spec, status, sidecars)
    reason = init_reason or _base_reason(status)
    if not init_reason or _has_condition(status, "Initialized"):
        restarts = sidecar_restarts
        reason, running = _summarize_containers(status, reason, restarts)
        ready += running
    return PodSummary(_final_reason(pod, status, reason), ready, total, restarts.count, restarts.last)


def _base_reason(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return status.get("reason") or status.get("phase") or ""


def _has_condition(status: Mapping[str, Any], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _summarize_init(
    spec: Mapping[str, Any], status: Mapping[str, Any], sidecars: set[Any]
) -> tuple[str, int, _Restarts, _Restarts]:
    """Reason (empty when initialised), ready sidecars, restarts of all and of the sidecars alone."""
    ready, restarts, sidecar_restarts = 0, _Restarts(), _Restarts()
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        restarts.add(container)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts.add(container)
        state = container.get("state") or {}
        terminated = state.get("terminated")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        return _init_reason(state, index, len(spec.get("initContainers") or ())), ready, restarts, sidecar_restarts
    return "", ready, restarts, sidecar_restarts


def _init_reason(state: Mapping[str, Any], index: int, total: int) -> str:
    terminated, waiting = state.get("terminated"), state.get("waiting") or {}
    if terminated is not None:
        return "Init:" + _terminated_reason(terminated)
    if waiting.get("reason") and waiting["reason"] != "PodInitializing":
        return f"Init:{waiting['reason']}"
    return f"Init:{index}/{total}"


def _terminated_reason(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _summarize_containers(status: Mapping[str, Any], reason: str, restarts: _Restarts) -> tuple[str, int]:
    """The first container with something to say wins: they are visited from the last to the first."""
    ready = 0
    for container in reversed(_statuses(status)):
        restarts.add(container)
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = _terminated_reason(terminated)
        elif container.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed" and ready:
        reason = "Running" if _has_condition(status, "Ready") else "NotReady"
    return reason, ready


def _statuses(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    statuses: Iterable[Mapping[str, Any]] = status.get("containerStatuses") or ()
    return list(statuses)


def _final_reason(pod: Mapping[str, Any], status: Mapping[str, Any], reason: str) -> str:
    if not (pod.get("metadata") or {}).get("deletionTimestamp"):
        return reason
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return reason if is_terminal(pod) else "Terminating"
