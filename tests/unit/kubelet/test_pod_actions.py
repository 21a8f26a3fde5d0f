"""Decision table of :func:`compute_pod_actions`: a base case and one change a row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus, PodSandboxStatus, SandboxState
from podhost.kubelet.pod_actions import (
    LifecycleView,
    PodActions,
    compute_pod_actions,
    compute_spec_hash,
)
from podhost.kubelet.runtime_status import LABEL_BACKOFF_S, LABEL_SPEC_HASH, build_runtime_status
from podhost.kubelet.settings import BackoffSettings

S = 1_000_000_000
NOW = 1_000_000 * S
RUNNING, EXITED, CREATED = ContainerState.RUNNING, ContainerState.EXITED, ContainerState.CREATED


def sandbox(attempt: int = 0, *, ready: bool = True) -> PodSandboxStatus:
    return PodSandboxStatus(
        id=SandboxId(f"s{attempt}"), namespace="default", name="web", uid=PodUID("u"), attempt=attempt,
        state=SandboxState.READY if ready else SandboxState.NOTREADY, created_at_ns=NOW - 500 * S,
    )  # fmt: skip


def container(
    name: str, state: ContainerState, *, attempt: int = 0, code: int = 0, sandbox_id: str = "s0", ago_s: int = 100,
    ran_s: int = 1, backoff_s: float = 0.0, image: str = "nginx:1",
) -> ContainerStatus:  # fmt: skip
    """One that ended ``ago_s`` seconds ago after ``ran_s`` seconds."""
    end = NOW - ago_s * S
    spec = models.Container(name=name, image=image)
    return ContainerStatus(
        id=ContainerId(f"{name}-{attempt}"), sandbox_id=SandboxId(sandbox_id), pod_uid=PodUID("u"),
        pod_namespace="default", pod_name="web", name=name, attempt=attempt, state=state, image_ref=image,
        image_id=ImageId("i"), created_at_ns=end - ran_s * S, started_at_ns=end - ran_s * S,
        finished_at_ns=end if state is EXITED else 0, exit_code=code, log_path=Path("/x"),
        labels={LABEL_BACKOFF_S: f"{backoff_s:g}", LABEL_SPEC_HASH: compute_spec_hash(spec)},
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Facts; the base is a pod of two running containers."""

    spec: dict[str, Any] = field(default_factory=dict)
    sandboxes: tuple[PodSandboxStatus, ...] = (sandbox(),)
    containers: tuple[ContainerStatus, ...] = (container("a", RUNNING), container("b", RUNNING))
    view: LifecycleView | None = None
    started_at_ns: int | None = None

    def compute(self) -> PodActions:
        spec = {"containers": [{"name": "a"}, {"name": "b"}], **self.spec}
        containers = spec.pop("containers")
        pod = msgspec.convert(make_pod("web", *containers, **spec), models.Pod)
        return compute_pod_actions(
            pod, build_runtime_status(self.sandboxes, self.containers), NOW, BackoffSettings(),
            view=self.view, started_at_ns=self.started_at_ns,
        )  # fmt: skip


def summary(actions: PodActions) -> str:
    """``sandbox kill-pod start:a/1 later:b/2 kill:a`` …"""
    words = []
    if actions.create_sandbox:
        words.append(f"sandbox/{actions.sandbox_attempt}")
    if actions.kill_pod:
        words.append("kill-pod")
    words += [f"start:{s.name}/{s.attempt}" for s in actions.start]
    words += [f"later:{s.name}/{s.attempt}" for s in actions.backing_off]
    words += [f"kill:{k.name}" for k in actions.kill]
    return " ".join(words)


INIT = {"initContainers": [{"name": "i", "image": "nginx:1"}, {"name": "j", "image": "nginx:1"}]}
SIDE = {
    "initContainers": [
        {"name": "s", "image": "nginx:1", "restartPolicy": "Always"},
        {"name": "i", "image": "nginx:1"},
    ]
}
A, B = Case().containers
NEVER, ON_FAILURE = {"restartPolicy": "Never"}, {"restartPolicy": "OnFailure"}

TABLE: list[tuple[str, Case, str]] = [
    ("all runs", Case(), ""),
    ("new pod", Case(sandboxes=(), containers=()), "sandbox/0 start:a/0 start:b/0"),
    ("sandbox without containers", Case(containers=()), "start:a/0 start:b/0"),
    ("one is missing", Case(containers=(A,)), "start:b/0"),
    ("one was created, never started", Case(containers=(A, container("b", CREATED))), "start:b/0"),
    ("one in an unknown state", Case(containers=(A, container("b", ContainerState.UNKNOWN))), "start:b/1 kill:b"),
    ("first exit restarts at once", Case(containers=(A, container("b", EXITED, code=1, ago_s=0))), "start:b/1"),
    (
        "second exit waits",
        Case(containers=(A, container("b", EXITED, attempt=1, code=1, ago_s=3, backoff_s=10))),
        "later:b/2",
    ),
    (
        "back-off is over",
        Case(containers=(A, container("b", EXITED, attempt=1, code=1, ago_s=10, backoff_s=10))),
        "start:b/2",
    ),
    (
        "a long run is forgiven",
        Case(containers=(A, container("b", EXITED, attempt=1, code=1, ago_s=0, backoff_s=300, ran_s=601))),
        "start:b/2",
    ),
    ("exit 0 under OnFailure", Case(ON_FAILURE, containers=(A, container("b", EXITED))), ""),
    ("exit 1 under OnFailure", Case(ON_FAILURE, containers=(A, container("b", EXITED, code=1))), "start:b/1"),
    ("exit 1 under Never", Case(NEVER, containers=(A, container("b", EXITED, code=1))), ""),
    (
        "all ended under Never",
        Case(NEVER, containers=(container("a", EXITED), container("b", EXITED, code=1))),
        "kill-pod",
    ),
    ("all succeeded under OnFailure", Case(ON_FAILURE, containers=(container("a", EXITED), container("b", EXITED))),
     "kill-pod"),
    ("sandbox lost", Case(sandboxes=(sandbox(ready=False),)), "sandbox/1 kill-pod start:a/1 start:b/1"),
    ("sandbox lost under Never", Case(NEVER, sandboxes=(sandbox(ready=False),)), "kill-pod"),
    (
        "sandbox lost under Never before anything ran",
        Case(NEVER, sandboxes=(sandbox(ready=False),), containers=(container("a", CREATED),)),
        "sandbox/1 kill-pod start:a/0 start:b/0",
    ),
    (
        "sandbox lost under OnFailure, one had succeeded",
        Case(ON_FAILURE, (sandbox(ready=False),), (container("a", EXITED), container("b", EXITED, code=255))),
        "sandbox/1 kill-pod start:b/1",
    ),
    (
        "sandbox lost under OnFailure, all had succeeded",
        Case(ON_FAILURE, (sandbox(ready=False),), (container("a", EXITED), container("b", EXITED))),
        "kill-pod",
    ),
    ("image changed", Case(containers=(A, container("b", RUNNING, image="old:1"))), "kill:b"),
    ("liveness failed", Case(view=LifecycleView(liveness_failed=frozenset({B.id}))), "kill:b"),
    ("startup failed", Case(view=LifecycleView(startup_failed=frozenset({B.id}))), "kill:b"),
    ("liveness of all failed under Never", Case(NEVER, view=LifecycleView(liveness_failed=frozenset({A.id, B.id}))),
     "kill-pod"),
    ("liveness of one failed under Never", Case(NEVER, view=LifecycleView(liveness_failed=frozenset({B.id}))), "kill:b"),
    ("not ready", Case(view=LifecycleView(not_ready=frozenset({B.id}))), ""),
    ("init: new pod", Case(INIT, (), ()), "sandbox/0 start:i/0"),
    ("init: first runs", Case(INIT, containers=(container("i", RUNNING),)), ""),
    ("init: first done", Case(INIT, containers=(container("i", EXITED),)), "start:j/0"),
    ("init: first failed", Case(INIT, containers=(container("i", EXITED, code=1),)), "start:i/1"),
    ("init: first failed under Never", Case({**INIT, **NEVER}, containers=(container("i", EXITED, code=1),)), "kill-pod"),
    (
        "init: all done",
        Case(INIT, containers=(container("i", EXITED), container("j", EXITED))),
        "start:a/0 start:b/0",
    ),
    ("init: removed after the apps were created", Case(INIT), ""),
    (
        "init: done in an older sandbox only",
        Case(INIT, (sandbox(1), sandbox(0, ready=False)), (container("i", EXITED), container("a", EXITED))),
        "start:i/1",
    ),
    (
        "init: done in the new sandbox, an app had succeeded in the old one",
        Case({**INIT, **ON_FAILURE}, (sandbox(1), sandbox(0, ready=False)),
             (container("i", EXITED, attempt=1, sandbox_id="s1"), container("j", EXITED, attempt=1, sandbox_id="s1"),
              container("a", EXITED), container("b", EXITED, code=255))),
        "start:b/1",
    ),
    ("sidecar: new pod", Case(SIDE, (), ()), "sandbox/0 start:s/0"),
    ("sidecar: runs", Case(SIDE, containers=(container("s", RUNNING),)), "start:i/0"),
    (
        "sidecar: not started yet",
        Case(SIDE, containers=(container("s", RUNNING),), view=LifecycleView(not_started=frozenset({ContainerId("s-0")}))),
        "",
    ),
    (
        "sidecar: startup failed before the next one",
        Case(SIDE, containers=(container("s", RUNNING),), view=LifecycleView(
            not_started=frozenset({ContainerId("s-0")}), startup_failed=frozenset({ContainerId("s-0")}))),
        "kill:s",
    ),
    (
        "sidecar: liveness failed while the apps run",
        Case(SIDE, containers=(container("s", RUNNING), container("i", EXITED), A, B),
             view=LifecycleView(liveness_failed=frozenset({ContainerId("s-0")}))),
        "kill:s",
    ),
    (
        "sidecar: died while the next one runs",
        Case(SIDE, containers=(container("s", EXITED), container("i", RUNNING))),
        "start:s/1",
    ),
    (
        "sidecar: died while the apps run",
        Case({**SIDE, **NEVER}, containers=(container("s", EXITED), container("i", EXITED), A, B)),
        "start:s/1",
    ),
    (
        "sidecar: does not keep a finished pod alive",
        Case({**SIDE, **NEVER}, containers=(container("s", RUNNING), container("i", EXITED),
             container("a", EXITED), container("b", EXITED))),
        "kill-pod",
    ),
    ("ephemeral: new", Case({"ephemeralContainers": [{"name": "e", "image": "nginx:1"}]}), "start:e/0"),
    (
        "ephemeral: never again",
        Case({"ephemeralContainers": [{"name": "e", "image": "nginx:1"}]}, containers=(A, B, container("e", EXITED))),
        "",
    ),
    ("deadline in the future", Case({"activeDeadlineSeconds": 60}, started_at_ns=NOW - 59 * S), ""),
    ("deadline passed", Case({"activeDeadlineSeconds": 60}, started_at_ns=NOW - 60 * S), "kill-pod"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_actions(case: Case, expected: str) -> None:
    assert summary(case.compute()) == expected


def test_back_off_doubles_up_to_five_minutes_and_is_kept_with_the_container() -> None:
    delays = []
    latest = container("b", EXITED, code=1, ago_s=1000)
    for attempt in range(8):
        actions = Case(containers=(A, latest)).compute()
        delays.append(actions.start[0].backoff_s)
        latest = container("b", EXITED, attempt=attempt + 1, code=1, ago_s=1000, backoff_s=delays[-1])
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]


def test_pass_is_asked_for_when_the_back_off_ends() -> None:
    b = container("b", EXITED, attempt=1, code=1, ago_s=3, backoff_s=10)
    assert Case(containers=(A, b)).compute().requeue_at_ns == NOW + 7 * S


def test_another_image_starts_at_once_with_a_back_off_of_its_own() -> None:
    b = container("b", EXITED, attempt=3, code=1, ago_s=3, backoff_s=40, image="broken:1")
    (start,) = Case(containers=(A, b)).compute().start
    assert (start.name, start.attempt, start.backoff_s, start.not_before_ns) == ("b", 4, 10, 0)


def test_deadline_names_its_reason_and_asks_for_a_pass() -> None:
    late = Case({"activeDeadlineSeconds": 60}, started_at_ns=NOW - 100 * S)
    failure = late.compute().failure
    assert failure is not None
    assert failure.reason == "DeadlineExceeded"
    early = replace(late, started_at_ns=NOW - 10 * S)
    assert early.compute().requeue_at_ns == NOW + 50 * S


def test_sysctl_of_the_host_has_the_pod_rejected() -> None:
    sysctls = [{"name": "net.ipv4.tcp_syncookies", "value": "0"}, {"name": "kernel/core_pattern", "value": "|/bin/x"}]
    case = Case(spec={"securityContext": {"sysctls": sysctls}}, sandboxes=(), containers=())
    actions = case.compute()
    assert actions.kill_pod
    assert not actions.create_sandbox
    assert actions.failure is not None
    assert actions.failure.reason == "SysctlForbidden"
    assert actions.failure.message.endswith('forbidden sysctl: "kernel.core_pattern" not allowlisted')


def test_created_container_is_replaced_under_the_same_attempt() -> None:
    start = Case(containers=(A, container("b", CREATED, attempt=3))).compute().start[0]
    assert (start.attempt, start.replaces) == (3, ContainerId("b-3"))


KILLS: list[tuple[str, Case, list[str]]] = [
    ("liveness", Case(view=LifecycleView(liveness_failed=frozenset({B.id}))),
     ["Container b failed liveness probe, will be restarted"]),
    ("startup", Case(view=LifecycleView(startup_failed=frozenset({B.id}))),
     ["Container b failed startup probe, will be restarted"]),
    ("never restarted", Case(NEVER, view=LifecycleView(liveness_failed=frozenset({B.id}))),
     ["Container b failed liveness probe"]),
    ("sidecar", Case(SIDE, containers=(container("s", RUNNING), A, B),
                     view=LifecycleView(startup_failed=frozenset({ContainerId("s-0")}))),
     ["Init container s failed startup probe"]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "expected"), [row[1:] for row in KILLS], ids=[row[0] for row in KILLS])
def test_reason_of_a_kill_reads_as_in_kubernetes(case: Case, expected: list[str]) -> None:
    assert [kill.message for kill in case.compute().kill] == expected


def test_grace_period_of_a_probe_overrides_that_of_the_pod() -> None:
    spec = {"containers": [{"name": "a"}, {"name": "b", "livenessProbe": {"terminationGracePeriodSeconds": 5}}]}
    view = LifecycleView(liveness_failed=frozenset({A.id, B.id}))
    assert [(k.name, k.grace_s) for k in Case(spec, view=view).compute().kill] == [("a", None), ("b", 5.0)]
