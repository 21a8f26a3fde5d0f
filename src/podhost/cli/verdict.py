"""What to tell a person who waits for a pod: a pure function of the pod and its events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podhost.api.objects import is_terminal

State = Literal["waiting", "ready", "completed", "failed", "stuck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``waiting`` goes on; the others are final for ``podhost up``."""

    state: State
    text: str
    """One line: what is going on, or what is wrong."""
    reason: str = ""
    container: str = ""
    """Whose log explains it; empty when no log does."""
    previous_log: bool = False
    exit_code: int = 0
    """What ``up`` exits with for ``completed`` and ``failed``."""
    next_step: str = ""


_PULL_HINT = "check the image's name; private: docker login or podman login; made here: podhost image load"
_NETWORK_HINT = "check the network and the registry, then run podhost up again"
_STUCK_WAITING = {
    "ErrImagePull": _PULL_HINT,
    "ImagePullBackOff": _PULL_HINT,
    "ErrImageNeverPull": "imagePullPolicy is Never: load the image first with podhost image load or podhost image pull",
    "InvalidImageName": "correct the image's name in the manifest",
    "RegistryUnavailable": _NETWORK_HINT,
    "CrashLoopBackOff": "see the whole log: podhost logs {pod} -c {container} --previous",
    "CreateContainerConfigError": "create the ConfigMap or Secret that the container refers to, or correct its name",
    "CreateContainerError": "check the container's command, user and mounts",
    "RunContainerError": "check the container's command: it must exist in the image and be executable",
    "StartError": "check the container's command: it must exist in the image and be executable",
    "PostStartHookError": "check the container's postStart hook",
}
STUCK_REASONS = frozenset(_STUCK_WAITING)
"""Waiting reasons that do not pass by themselves."""
_STUCK_EVENTS = {
    "FailedMount": "check the pod's volumes: what they name must exist",
    "FailedCreatePodSandBox": "check this machine: podhost doctor",
    "FailedScheduling": "see what the pod asks for: podhost describe {pod}",
    "NetworkNotReady": "check this machine: podhost doctor",
}
# Hints that are better than the reason's own, where the message has these words.
_BY_MESSAGE = (
    ("OOMKilled", "it had too little memory: raise its resources.limits.memory"),
    ("liveness probe", "check its livenessProbe, or give it time with a startupProbe: podhost describe {pod}"),
    ("runAsNonRoot", "set runAsUser to another user than 0, or take an image that has one"),
    ("mount `", "check the container's volumeMounts: what is mounted over what"),
    ("host port", "end that program, or choose another hostPort"),
    ("failed to do request", _NETWORK_HINT),
    ("unexpected HTTP status", _NETWORK_HINT),
    ("Insufficient", "lower the containers' resources.requests; what there is: kubectl describe nodes"),
    ("free ports", "see which pod has the hostPort: podhost describe {pod}"),
    ("node affinity/selector", "no node fits the pod's nodeSelector or affinity: kubectl get nodes --show-labels"),
    ("taint", "see why the node has a taint, and whether disk or memory are short: kubectl describe nodes"),
)
_ENDED_BY_KUBELET = (
    ("low on resource: memory", "request what it needs (resources.requests.memory), or free memory of this machine"),
    ("low on resource: pids", "end processes of this machine, or give the pod a higher priority"),
    ("low on resource", "make room on the disk: podhost image prune, podhost doctor"),
    ("The node had condition", "see what is short: kubectl describe nodes, podhost doctor"),
    ("EmptyDir volume", "raise the volume's sizeLimit, or have the pod write less into it"),
    ("ephemeral", "raise resources.limits.ephemeral-storage, or have the pod write and log less"),
    ("longer than specified deadline", "raise the pod's activeDeadlineSeconds"),
)
_LOG_EXPLAINS = ("CrashLoopBackOff",)


def compute_verdict(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge a pod by its status and by its own events, newest last."""
    status = pod.get("status") or {}
    if is_terminal(pod):
        return _finished(pod, status, failed=status["phase"] == "Failed")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return _stuck(pod, "Unschedulable", condition.get("message", ""), _STUCK_EVENTS["FailedScheduling"])
    for entry, is_init in _container_statuses(status):
        waiting = (entry.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK_WAITING:
            return _stuck_container(pod, entry, waiting, events, is_init=is_init)
    if _condition(status, "Ready") == "True" or _runs_to_its_end(pod, status):
        return Verdict(state="ready", text="ready")
    event = _last_warning(events)
    if event is not None and event.get("reason") in _STUCK_EVENTS and not _has_started(status):
        reason = str(event["reason"])
        return _stuck(pod, reason, str(event.get("message", "")), _STUCK_EVENTS[reason])
    text, container = _progress(pod, status, events)
    return Verdict(state="waiting", text=text, container=container)


def compute_exit_code(pod: Mapping[str, Any]) -> int:
    """Exit code of a pod that has run to its end: the first container's that is not 0, else 0 or 1 by its phase."""
    status = pod.get("status") or {}
    for entry, _ in _container_statuses(status):
        code = ((entry.get("state") or {}).get("terminated") or {}).get("exitCode") or 0
        if code:
            return int(code)
    return 1 if status.get("phase") == "Failed" else 0


def _finished(pod: Mapping[str, Any], status: Mapping[str, Any], *, failed: bool) -> Verdict:
    code = compute_exit_code(pod)
    if not failed:
        return Verdict(state="completed", text="completed", exit_code=0)
    deleted = "it was deleted; " if (pod.get("metadata") or {}).get("deletionTimestamp") else ""
    if status.get("reason"):
        # Its containers were killed for that; how they ended explains nothing.
        reason, message = str(status["reason"]), str(status.get("message") or "the pod failed").strip()
        next_step = next((hint for words, hint in _ENDED_BY_KUBELET if words in message), "")
        text = f"{deleted}{reason}: {message}"
        return Verdict(state="failed", text=text, reason=reason, exit_code=code, next_step=next_step)
    for entry, _ in _container_statuses(status):
        ended = (entry.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            reason = str(ended.get("reason") or "Error")
            code_text = f"ended with exit code {ended['exitCode']} ({reason})"
            detail = f": {ended['message'].strip()}" if ended.get("message") else ""
            return Verdict(
                state="failed",
                text=f"{deleted}container {entry.get('name')} {code_text}{detail}",
                reason=reason,
                container=str(entry.get("name", "")),
                exit_code=code,
            )
    return Verdict(
        state="failed",
        text=f"{deleted}Failed: {status.get('message') or 'the pod failed'}",
        reason="Failed",
        exit_code=code,
    )


def _stuck(pod: Mapping[str, Any], reason: str, message: str, next_step: str, **extra: Any) -> Verdict:
    name = (pod.get("metadata") or {}).get("name", "")
    next_step = next((hint for words, hint in _BY_MESSAGE if words in message), next_step)
    return Verdict(
        state="stuck",
        reason=reason,
        text=f"{reason}: {message}" if message else reason,
        next_step=next_step.format(pod=name, container=extra.get("container", "")),
        exit_code=1,
        **extra,
    )


def _stuck_container(
    pod: Mapping[str, Any],
    entry: Mapping[str, Any],
    waiting: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    *,
    is_init: bool,
) -> Verdict:
    reason, name = str(waiting["reason"]), str(entry.get("name", ""))
    message = str(waiting.get("message") or "")
    last = (entry.get("lastState") or {}).get("terminated") or {}
    if reason == "CrashLoopBackOff" and last:
        restarts = entry.get("restartCount") or 0
        count = f"{restarts} {'restart' if restarts == 1 else 'restarts'}"
        message = f"it ends again and again ({count}), last with exit code {last.get('exitCode')}"
        if last.get("reason") not in (None, "Error", "Completed"):
            message += f" ({last['reason']})"
        if last.get("message"):
            message += f": {str(last['message']).strip()}"
        message += _killed_by_probe(name, events)
    which = "init container" if is_init else "container"
    text = f"{which} {name}: {message}" if message else f"{which} {name}"
    explained = reason in _LOG_EXPLAINS
    return _stuck(
        pod, reason, text, _STUCK_WAITING[reason], container=name if explained else "", previous_log=explained
    )


def _killed_by_probe(container: str, events: Sequence[Mapping[str, Any]]) -> str:
    """Whose liveness or startup probe ended it, the exit code says nothing of it."""
    own = [e for e in events if str((e.get("involvedObject") or {}).get("fieldPath", "")).endswith(f"{{{container}}}")]
    for word in ("liveness", "startup"):
        if any(e.get("reason") == "Killing" and f"failed {word} probe" in str(e.get("message")) for e in own):
            said = [str(e.get("message", "")).strip() for e in own if e.get("reason") == "Unhealthy"]
            failed = next((text for text in reversed(said) if text.lower().startswith(word)), f"{word} probe failed")
            return f"; its {word} probe ended it: {failed}"
    return ""


def _container_statuses(status: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    for entry in status.get("initContainerStatuses") or []:
        yield entry, True
    for entry in status.get("containerStatuses") or []:
        yield entry, False


def _condition(status: Mapping[str, Any], kind: str) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == kind:
            return str(condition.get("status", ""))
    return ""


def _runs_to_its_end(pod: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Has everything started, and has some of it ended, in a pod that does not restart what has ended?"""
    if (pod.get("spec") or {}).get("restartPolicy", "Always") == "Always":
        return False
    entries = status.get("containerStatuses") or []
    return bool(entries) and all(entry.get("ready") or "terminated" in (entry.get("state") or {}) for entry in entries)


def _has_started(status: Mapping[str, Any]) -> bool:
    return any("running" in (entry.get("state") or {}) for entry, _ in _container_statuses(status))


def _last_warning(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The newest event, if it warns: a later Normal event says that things have moved on."""
    last = events[-1] if events else None
    return last if last is not None and last.get("type") == "Warning" else None


def _progress(
    pod: Mapping[str, Any], status: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    """What it waits for, and the container whose log may say more."""
    entries = status.get("containerStatuses") or []
    specs = (pod.get("spec") or {}).get("initContainers") or []
    sidecars = {spec.get("name") for spec in specs if spec.get("restartPolicy") == "Always"}
    for entry in status.get("initContainerStatuses") or []:
        ended = (entry.get("state") or {}).get("terminated") or {}
        # A sidecar has done its part once it has started; any other must end.
        if ended.get("exitCode") != 0 and not (entry.get("started") and entry.get("name") in sidecars):
            name = str(entry.get("name"))
            return f"init container {name}", name if "running" in (entry.get("state") or {}) else ""
    not_ready = [str(entry.get("name")) for entry in entries if not entry.get("ready")]
    running = [entry for entry in entries if "running" in (entry.get("state") or {})]
    if running and not_ready:
        last = events[-1] if events else {}
        detail = f": {str(last.get('message', '')).strip()}" if last.get("reason") == "Unhealthy" else ""
        alive = [str(entry.get("name")) for entry in running if not entry.get("ready")]
        return f"waiting for {', '.join(not_ready)} to become ready{detail}", alive[0] if alive else ""
    if events and events[-1].get("reason") == "Pulling":
        return str(events[-1].get("message", "")), ""
    return "starting", ""
