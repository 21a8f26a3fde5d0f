"""What the kubelet's status manager does to every status before it is told.  Pure.

After kubernetes 1.37 pkg/kubelet/status: ``TerminatePod`` (all that has come to its end has an end, if only an unknown
one) and ``normalizeStatus`` (a pod's termination messages have 12 KiB together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import models
from podhost.kubelet.container_status import LOST_MESSAGE, LOST_REASON, UNKNOWN_EXIT_CODE
from podhost.kubelet.pod_actions import is_sidecar
from podhost.kubelet.termination_message import limit_message

Status = dict[str, Any]
Statuses = Sequence[Mapping[str, Any]]


def end_containers(pod: models.Pod, init: Statuses, apps: Statuses) -> tuple[list[Status], list[Status]]:
    """The statuses of a pod that has ended: what has no end of its own is lost.

    Not so what was never its turn: app containers of a pod that was not initialised, init containers behind the last
    that has run.
    """
    reached = max((i for i, status in enumerate(init) if _has_lived(status)), default=-1)
    ended = [_end(status) if i <= reached else dict(status) for i, status in enumerate(init)]
    initialised = _is_initialised(pod, init, apps)
    return ended, [_end(status) if initialised else dict(status) for status in apps]


def _end(status: Mapping[str, Any]) -> Status:
    if "terminated" in status["state"]:
        return dict(status)
    lost = {
        "exitCode": UNKNOWN_EXIT_CODE,
        "reason": LOST_REASON,
        "message": LOST_MESSAGE,
        "startedAt": None,
        "finishedAt": None,
    }
    return {**status, "state": {"terminated": lost}}


def _has_lived(status: Mapping[str, Any]) -> bool:
    return "waiting" not in status["state"] or "terminated" in status["lastState"]


def _is_initialised(pod: models.Pod, init: Statuses, apps: Statuses) -> bool:
    """``hasPodInitialized``."""
    if not init or any(map(_has_lived, apps)):
        return True
    last = init[-1]
    if is_sidecar(pod.spec.init_containers[-1]):
        return bool(last.get("started"))
    ends = (state["terminated"] for state in (last["state"], last["lastState"]) if "terminated" in state)
    return any(end["exitCode"] == 0 for end in ends)


def limit_messages(pod: models.Pod, statuses: Statuses) -> list[Status]:
    """``statuses`` with no more of their termination messages than the pod has room for."""
    spec = pod.spec
    count = len(spec.containers) + len(spec.init_containers) + len(spec.ephemeral_containers)
    return [
        {**status, **{field: _limit(status[field], count) for field in ("state", "lastState")}} for status in statuses
    ]


def _limit(state: Mapping[str, Any], count: int) -> dict[str, Any]:
    ended = state.get("terminated")
    if not ended or "message" not in ended:
        return dict(state)
    return {"terminated": {**ended, "message": limit_message(ended["message"], count)}}
