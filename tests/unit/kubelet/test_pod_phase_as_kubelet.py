"""The phase, as the kubelet's own tests have it (kubernetes 1.37, ``TestPodPhaseWith*`` of kubelet_pods_test.go).

Facts in our words.  The kubelet's rows without any status of a container are rows of a waiting one here: each
container of the spec always has a status.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.kubelet.container_status import StatusContext
from podhost.kubelet.pod_status import compute_phase
from podhost.kubelet.runtime_status import build_runtime_status

Obj = dict[str, Any]
STATES: dict[str, Obj] = {
    "run": {"state": {"running": {}}, "lastState": {}, "started": False},
    "started": {"state": {"running": {}}, "lastState": {}, "started": True},
    "ok": {"state": {"terminated": {"exitCode": 0}}, "lastState": {}, "started": False},
    "bad": {"state": {"terminated": {"exitCode": 255}}, "lastState": {}, "started": False},
    "wait": {"state": {"waiting": {}}, "lastState": {}, "started": False},
    "wait-ok": {"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 0}}, "started": False},
    "wait-bad": {"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 255}}, "started": False},
}
"""A container's status, by a short word."""

PLAIN, INIT, SIDE, BOTH = "", "X", "S", "XS"
"""Init containers of the pod: ``X`` is a regular one, ``S`` a sidecar."""

ROWS: list[tuple[str, str, str, str]] = [
    # policy, init containers, their states and those of the app containers, phase
    ("Always", PLAIN, "wait wait", "Pending"),
    ("Always", PLAIN, "run run", "Running"),
    ("Always", PLAIN, "ok ok", "Running"),
    ("Always", PLAIN, "ok ok ending", "Succeeded"),
    ("Always", PLAIN, "ok bad ending", "Failed"),
    ("Always", PLAIN, "run ok", "Running"),
    ("Always", PLAIN, "run wait", "Pending"),
    ("Always", PLAIN, "run wait-ok", "Running"),
    ("Always", INIT, "wait wait wait", "Pending"),
    ("Always", INIT, "run wait wait", "Pending"),
    ("Always", INIT, "bad wait wait", "Pending"),
    ("Always", INIT, "wait-ok wait wait", "Pending"),
    ("Always", INIT, "wait-bad wait wait", "Pending"),
    ("Always", INIT, "ok run run", "Running"),
    ("Always", SIDE, "wait wait wait", "Pending"),
    ("Always", SIDE, "run wait wait", "Pending"),
    ("Always", SIDE, "ok wait wait", "Pending"),
    ("Always", SIDE, "wait-ok wait wait", "Pending"),
    ("Always", SIDE, "wait-bad wait wait", "Pending"),
    ("Always", SIDE, "started run wait", "Pending"),
    ("Always", SIDE, "started run run", "Running"),
    ("Always", SIDE, "run run run", "Running"),
    ("Always", SIDE, "ok run run", "Running"),
    ("Always", SIDE, "wait-ok run run", "Running"),
    ("Always", SIDE, "bad ok ok ending", "Succeeded"),
    ("Always", SIDE, "ok ok ok ending", "Succeeded"),
    ("Always", BOTH, "run run run run", "Pending"),
    ("Always", BOTH, "run run ok ok", "Pending"),
    ("Always", BOTH, "ok run ok ok", "Running"),
    ("Always", BOTH, "ok run run run", "Running"),
    ("Never", PLAIN, "wait wait", "Pending"),
    ("Never", PLAIN, "run run", "Running"),
    ("Never", PLAIN, "ok ok", "Succeeded"),
    ("Never", PLAIN, "bad bad", "Failed"),
    ("Never", PLAIN, "run ok", "Running"),
    ("Never", PLAIN, "run wait", "Pending"),
    ("Never", INIT, "wait wait wait", "Pending"),
    ("Never", INIT, "run wait wait", "Pending"),
    ("Never", INIT, "bad wait wait", "Failed"),
    ("Never", INIT, "wait-ok wait wait", "Pending"),
    ("Never", INIT, "wait-bad wait wait", "Failed"),
    ("Never", INIT, "ok run run", "Running"),
    ("Never", SIDE, "wait wait wait", "Pending"),
    ("Never", SIDE, "run wait wait", "Pending"),
    ("Never", SIDE, "ok wait wait", "Pending"),
    ("Never", SIDE, "wait-bad wait wait", "Pending"),
    ("Never", SIDE, "started run wait", "Pending"),
    ("Never", SIDE, "started ok ok", "Running"),
    ("Never", SIDE, "run ok ok", "Running"),
    ("Never", SIDE, "ok ok ok", "Succeeded"),
    ("Never", SIDE, "bad ok ok", "Succeeded"),
    ("Never", SIDE, "wait-ok ok ok", "Succeeded"),
    ("Never", SIDE, "wait-bad ok ok", "Succeeded"),
    ("OnFailure", PLAIN, "wait wait", "Pending"),
    ("OnFailure", PLAIN, "run run", "Running"),
    ("OnFailure", PLAIN, "ok ok", "Succeeded"),
    ("OnFailure", PLAIN, "bad bad", "Running"),
    ("OnFailure", PLAIN, "run ok", "Running"),
    ("OnFailure", PLAIN, "run wait", "Pending"),
    ("OnFailure", PLAIN, "run wait-ok", "Running"),
]


def as_record(name: str, status: Obj) -> ContainerStatus | None:
    """What the runtime has of a container with such a status."""
    ended = status["state"].get("terminated") or status["lastState"].get("terminated")
    if ended is None and "running" not in status["state"]:
        return None
    return ContainerStatus(
        id=ContainerId(name), sandbox_id=SandboxId("s"), pod_uid=PodUID("u"), pod_namespace="default", pod_name="web",
        name=name, attempt=0, state=ContainerState.EXITED if ended else ContainerState.RUNNING, image_ref="x",
        image_id=ImageId("i"), created_at_ns=1, exit_code=ended["exitCode"] if ended else 0, log_path=Path("/x"),
    )  # fmt: skip


@pytest.mark.parametrize(("policy", "inits", "states", "phase"), ROWS, ids=[" ".join(row[:3]) for row in ROWS])
def test_phase_is_the_kubelets(policy: str, inits: str, states: str, phase: str) -> None:
    words = states.split()
    is_ending = words[-1] == "ending"
    statuses = [STATES[word] for word in words if word != "ending"]
    spec: Obj = {"restartPolicy": policy}
    if inits:
        sidecar = {"restartPolicy": "Always"}
        spec["initContainers"] = [{"name": n.lower(), "image": "x", **(sidecar if n == "S" else {})} for n in inits]
    pod = msgspec.convert(make_pod("web", {"name": "a"}, {"name": "b"}, **spec), models.Pod)
    apps = statuses[len(inits) :]
    observed = build_runtime_status((), (c for c in map(as_record, "ab", apps) if c is not None))
    context = StatusContext(now_ns=1, is_ending=is_ending)
    assert compute_phase(pod, statuses[: len(inits)], apps, {}, context, observed) == phase
