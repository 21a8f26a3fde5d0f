"""``status.containerStatuses[*]`` from facts.  Pure.

::

    never created ──▶ waiting (ContainerCreating, PodInitializing, or why it cannot be started)
    CREATED       ──▶ waiting
    RUNNING       ──▶ waiting until its postStart hook has returned, then running
    EXITED        ──▶ terminated, or waiting with lastState while it backs off or cannot be started again
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podhost.api import models
from podhost.api.image_refs import is_valid, normalize
from podhost.api.time import format_time
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.kubelet.go_format import format_duration
from podhost.kubelet.pod_actions import (
    AnyContainer,
    LifecycleView,
    PodFailure,
    compute_backoff_s,
    compute_restart_at_ns,
    is_sidecar,
)
from podhost.kubelet.restart_policy import compute_round, read_round, should_restart
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.settings import BackoffSettings

ID_PREFIX = "podhost://"
UNKNOWN_EXIT_CODE = 137
LOST_MESSAGE = "The container could not be located when the pod was terminated"
LOST_REASON = "ContainerStatusUnknown"
RESTARTING_ALL_REASON = "RestartingAllContainers"
RESTARTING_ALL_MESSAGE = "The container is removed because RestartAllContainers in place"
ASSUMED_MESSAGE = (
    "Unable to get init container status from container runtime and pod has been initialized, "
    "treat it as exited normally"
)


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """Why a container could not be started."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusContext:
    """What a status depends on beside the pod, the runtime's facts and the previous status."""

    now_ns: int
    host_ips: tuple[str, ...] = ()
    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    waiting: Mapping[str, WaitingReason] = field(default_factory=dict)
    """Last failure to start, by container name."""
    messages: Mapping[ContainerId, str] = field(default_factory=dict)
    """Termination messages read from files or logs."""
    image_names: Mapping[str, str] = field(default_factory=dict)
    """``docker.io/library/nginx@sha256:…`` by image id."""
    volume_images: Mapping[str, str] = field(default_factory=dict)
    """The same of the pod's image volumes, by volume."""
    view: LifecycleView = field(default_factory=LifecycleView)
    unresized: frozenset[str] = frozenset()
    """Containers whose limits are not yet those that were allocated."""
    failure: PodFailure | None = None
    is_ending: bool = False
    """Nothing will be started any more: the pod is deleted, or has come to its end."""


def format_container_id(container_id: str) -> str:
    """``podhost://<id>``."""
    return f"{ID_PREFIX}{container_id}"


def build_container_status(
    pod: models.Pod,
    container: AnyContainer,
    observed: PodRuntimeStatus,
    previous: Mapping[str, Any] | None,
    context: StatusContext,
    *,
    kind: str,
    default_waiting: str,
) -> dict[str, Any]:
    """The API's ``ContainerStatus`` of one container."""
    history = observed.history(container.name)
    latest = history[0] if history else None
    if latest is None:
        unseen = _build_unseen(container, previous, context, default_waiting)
        return _assume_completed(unseen) if kind == "init" and _was_passed(pod, container, observed, unseen) else unseen
    state, last_state = _build_states(pod, container, latest, previous, history, context, default_waiting)
    running = "running" in state
    waits_for_round = _waits_for_round(pod, latest, observed, context, kind)
    if waits_for_round:
        state = _waiting_state(WaitingReason(RESTARTING_ALL_REASON, RESTARTING_ALL_MESSAGE))
        last_state = {"terminated": _build_reset(latest)}
    started = running and latest.id not in context.view.not_started
    status: dict[str, Any] = {
        "name": container.name,
        "state": state,
        "lastState": last_state,
        "ready": _is_ready(container, kind, latest, started and latest.id not in context.view.not_ready),
        "restartCount": latest.attempt + waits_for_round,
        "image": _show_image(latest.image_ref),
        "imageID": context.image_names.get(latest.image_id, str(latest.image_id)),
        "containerID": format_container_id(latest.id),
        "started": started,
    }
    images = _find_volume_images(latest, previous, context)
    status = {"resources": {}, **_with_spec_facts(status, container, images)}
    if latest.stop_signal.startswith("SIG"):
        status["stopSignal"] = latest.stop_signal
    if latest.user is not None:
        user = {"uid": latest.user.uid, "gid": latest.user.gid}
        status["user"] = {"linux": {**user, "supplementalGroups": list(latest.user.supplemental_groups)}}
    if container.name in context.unresized and previous is not None and "resources" in previous:
        status["resources"] = previous["resources"]
    return status


def _show_image(ref: str) -> str:
    """With registry and tag, as a container runtime tells it."""
    return str(normalize(ref)) if is_valid(ref) else ref


def _waits_for_round(
    pod: models.Pod, latest: ContainerStatus, observed: PodRuntimeStatus, context: StatusContext, kind: str
) -> bool:
    """Has it ended with a round of the pod, and not begun the next?"""
    if context.is_ending or kind == "ephemeral" or latest.state is not ContainerState.EXITED:
        return False
    return read_round(latest) < compute_round(pod, observed)


def _build_reset(status: ContainerStatus) -> dict[str, Any]:
    """What is said of a container that ended with its round, whoever ended it."""
    return {
        "exitCode": UNKNOWN_EXIT_CODE,
        "reason": RESTARTING_ALL_REASON,
        "message": RESTARTING_ALL_MESSAGE,
        "startedAt": format_time(status.started_at_ns),
        "finishedAt": format_time(status.finished_at_ns),
        "containerID": format_container_id(status.id),
    }


def _is_ready(container: AnyContainer, kind: str, latest: ContainerStatus, passed: bool) -> bool:
    """``passed``: it runs, has started, and its readiness probe does not deny it."""
    if kind == "ephemeral":
        return False  # As in Kubernetes: nobody asks it.
    if kind == "init" and not (isinstance(container, models.Container) and is_sidecar(container)):
        return latest.state is ContainerState.EXITED and latest.exit_code == 0
    return passed


def _build_states(
    pod: models.Pod,
    container: AnyContainer,
    latest: ContainerStatus,
    previous: Mapping[str, Any] | None,
    history: tuple[ContainerStatus, ...],
    context: StatusContext,
    default_waiting: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``state`` and ``lastState``."""
    before = _build_last_state(latest, history, previous, context)
    if latest.id in context.view.in_post_start:
        return _waiting_state(WaitingReason(default_waiting)), before
    if latest.state is ContainerState.RUNNING or latest.state is ContainerState.UNKNOWN:
        return {"running": {"startedAt": format_time(latest.started_at_ns)}}, before
    waiting = context.waiting.get(container.name)
    if latest.state is ContainerState.CREATED:
        return _waiting_state(waiting or WaitingReason(default_waiting)), before
    terminated = {"terminated": build_terminated(latest, context.messages)}
    if not context.is_ending and _will_restart(pod, container, latest, context):
        if compute_restart_at_ns(container, latest, context.backoff) > context.now_ns:
            return _waiting_state(build_crash_loop(pod, latest)), terminated
        if waiting is not None:
            return _waiting_state(waiting), terminated
    return terminated, before


def _will_restart(pod: models.Pod, container: AnyContainer, latest: ContainerStatus, context: StatusContext) -> bool:
    if latest.id in context.view.killed_to_restart:
        return True
    if isinstance(container, models.EphemeralContainer):
        return False
    is_init = any(container is c for c in pod.spec.init_containers)
    if is_init and not is_sidecar(container) and latest.exit_code == 0:
        return False
    return should_restart(pod, container, latest)


def build_crash_loop(pod: models.Pod, latest: ContainerStatus) -> WaitingReason:
    """``CrashLoopBackOff`` with the kubelet's text."""
    meta = pod.metadata
    delay = format_duration(compute_backoff_s(latest))
    return WaitingReason(
        "CrashLoopBackOff",
        f"back-off {delay} restarting failed container={latest.name} pod={meta.name}_{meta.namespace}({meta.uid})",
    )


def build_terminated(status: ContainerStatus, messages: Mapping[ContainerId, str]) -> dict[str, Any]:
    """``ContainerStateTerminated``."""
    reason = status.reason or ("Completed" if status.exit_code == 0 else "Error")
    result: dict[str, Any] = {"exitCode": status.exit_code}
    if status.signal:
        result["signal"] = status.signal
    result["reason"] = reason
    message = messages.get(status.id) or status.message
    if message:
        result["message"] = message
    # Never started: Kubernetes shows the epoch.
    result["startedAt"] = format_time(status.started_at_ns)
    result["finishedAt"] = format_time(status.finished_at_ns)
    result["containerID"] = format_container_id(status.id)
    return result


def _build_last_state(
    latest: ContainerStatus,
    history: tuple[ContainerStatus, ...],
    previous: Mapping[str, Any] | None,
    context: StatusContext,
) -> dict[str, Any]:
    if len(history) > 1 and history[1].state is ContainerState.EXITED:
        if read_round(history[1]) < read_round(latest):
            return {"terminated": _build_reset(history[1])}
        return {"terminated": build_terminated(history[1], context.messages)}
    if previous is None or latest.attempt == 0:
        return {}
    # The older container was removed: what was written about it is all that is left.
    states = [previous.get("lastState"), previous.get("state")]
    if previous.get("containerID") != format_container_id(latest.id):
        states.reverse()
    for state in states:
        if state and "terminated" in state:
            if state["terminated"].get("containerID") == format_container_id(latest.id):
                continue
            return {"terminated": state["terminated"]}
    return {}


def _waiting_state(waiting: WaitingReason) -> dict[str, Any]:
    body = {"reason": waiting.reason}
    if waiting.message:
        body["message"] = waiting.message
    return {"waiting": body}


def _build_unseen(
    container: AnyContainer, previous: Mapping[str, Any] | None, context: StatusContext, default_waiting: str
) -> dict[str, Any]:
    """The runtime has no record: never created, or removed since."""
    previous = previous or {}
    old_state = previous.get("state") or {}
    restart_count = int(previous.get("restartCount", 0))
    last_state: dict[str, Any] = previous.get("lastState") or {}
    state = _waiting_state(context.waiting.get(container.name) or WaitingReason(default_waiting))
    if "terminated" in old_state:
        if context.is_ending:
            return dict(previous)
        last_state = {"terminated": old_state["terminated"]}
    elif "running" in old_state:
        lost = {"terminated": _build_lost(old_state["running"], previous, context.now_ns)}
        if context.is_ending:
            state = lost
        else:
            last_state, restart_count = lost, restart_count + 1
    status = {
        "name": container.name,
        "state": state,
        "lastState": last_state,
        "ready": False,
        "restartCount": restart_count,
        "image": container.image or "",
        "imageID": "",
        "started": False,
    }
    return _with_spec_facts(status, container, {})


def _was_passed(
    pod: models.Pod, container: AnyContainer, observed: PodRuntimeStatus, status: Mapping[str, Any]
) -> bool:
    """Is it an init container without a record, in a pod whose app containers exist: it has done its work?"""
    is_regular = isinstance(container, models.Container) and not is_sidecar(container)
    return is_regular and "waiting" in status["state"] and any(observed.latest(c.name) for c in pod.spec.containers)


def _assume_completed(status: dict[str, Any]) -> dict[str, Any]:
    ended = {"exitCode": 0, "reason": "Completed", "message": ASSUMED_MESSAGE, "startedAt": None, "finishedAt": None}
    return {**status, "state": {"terminated": ended}, "ready": True}


def _build_lost(running: Mapping[str, Any], previous: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
    lost = {
        "exitCode": UNKNOWN_EXIT_CODE,
        "reason": LOST_REASON,
        "message": LOST_MESSAGE,
        "startedAt": running.get("startedAt") or format_time(0),
        "finishedAt": format_time(now_ns),
    }
    if previous.get("containerID"):
        lost["containerID"] = previous["containerID"]
    return lost


def _find_volume_images(
    latest: ContainerStatus, previous: Mapping[str, Any] | None, context: StatusContext
) -> dict[str, str]:
    """By volume.  A container keeps what it was made with, whatever a tag means later."""
    found = dict(context.volume_images)
    if previous is not None and previous.get("containerID") == format_container_id(latest.id):
        for mount in previous.get("volumeMounts") or ():
            if image := (mount.get("volumeStatus") or {}).get("image"):
                found[mount["name"]] = image["imageRef"]
    return found


def _with_spec_facts(
    status: dict[str, Any], container: AnyContainer, volume_images: Mapping[str, str]
) -> dict[str, Any]:
    """What the kubelet repeats from the spec: resources and mounts."""
    resources = container.resources
    if resources and (resources.limits or resources.requests):
        if resources.requests:
            status["allocatedResources"] = dict(resources.requests)
        status["resources"] = {
            key: dict(values)
            for key, values in (("limits", resources.limits), ("requests", resources.requests))
            if values
        }
    if container.volume_mounts:
        status["volumeMounts"] = [_build_mount_status(m, volume_images) for m in container.volume_mounts]
    return status


def _build_mount_status(mount: models.VolumeMount, volume_images: Mapping[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {"name": mount.name, "mountPath": mount.mount_path}
    if mount.read_only:
        result["readOnly"] = True
        is_deep = mount.recursive_read_only in ("Enabled", "IfPossible")
        result["recursiveReadOnly"] = "Enabled" if is_deep else "Disabled"
    if mount.name in volume_images:
        result["volumeStatus"] = {"image": {"imageRef": volume_images[mount.name]}}
    return result
