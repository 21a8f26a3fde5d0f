"""Decision table of :func:`generate_pod_status`: a base case and one change a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus, PodSandboxStatus, SandboxState
from podhost.kubelet.container_status import StatusContext, WaitingReason
from podhost.kubelet.pod_actions import LifecycleView, PodFailure
from podhost.kubelet.pod_status import generate_pod_status
from podhost.kubelet.runtime_status import LABEL_BACKOFF_S, build_runtime_status

S = 1_000_000_000
NOW = 1_795_449_600 * S
RUNNING, EXITED, CREATED = ContainerState.RUNNING, ContainerState.EXITED, ContainerState.CREATED


def sandbox(*, ready: bool = True) -> PodSandboxStatus:
    return PodSandboxStatus(
        id=SandboxId("s"), namespace="default", name="web", uid=PodUID("u"), attempt=0, created_at_ns=1,
        state=SandboxState.READY if ready else SandboxState.NOTREADY, ips=("10.0.0.5",) if ready else (),
    )  # fmt: skip


def container(
    name: str, state: ContainerState, *, attempt: int = 0, code: int = 0, backoff_s: float = 0, ago_s: int = 5
) -> ContainerStatus:
    end = NOW - ago_s * S
    return ContainerStatus(
        id=ContainerId(f"{name}{attempt}"), sandbox_id=SandboxId("s"), pod_uid=PodUID("u"), pod_namespace="default",
        pod_name="web", name=name, attempt=attempt, state=state, image_ref="nginx:1", image_id=ImageId("sha256:1"),
        created_at_ns=end - 3 * S, started_at_ns=0 if state is CREATED else end - 2 * S, exit_code=code,
        finished_at_ns=end if state is EXITED else 0, log_path=Path("/x"), labels={LABEL_BACKOFF_S: f"{backoff_s:g}"},
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The base is a pod of two running containers without a previous status."""

    spec: dict[str, Any] = field(default_factory=dict)
    sandboxes: tuple[PodSandboxStatus, ...] = (sandbox(),)
    containers: tuple[ContainerStatus, ...] = (container("a", RUNNING), container("b", RUNNING))
    previous: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)

    def generate(self) -> dict[str, Any]:
        spec = {"containers": [{"name": "b"}, {"name": "a"}], **self.spec}
        pod = msgspec.convert(make_pod("web", *spec.pop("containers"), **spec), models.Pod)
        context = StatusContext(now_ns=NOW, host_ips=("192.168.0.1",), **self.context)
        return generate_pod_status(pod, build_runtime_status(self.sandboxes, self.containers), self.previous, context)


def describe(status: dict[str, Any]) -> str:
    """``Running a=running b=waiting:CrashLoopBackOff``."""
    words = [status["phase"]]
    for entry in (*status.get("initContainerStatuses", ()), *status["containerStatuses"]):
        (kind, body), *_ = entry["state"].items()
        words.append(f"{entry['name']}={kind}" + (f":{body['reason']}" if body.get("reason") else ""))
    return " ".join(words)


NEVER, ON_FAILURE = {"restartPolicy": "Never"}, {"restartPolicy": "OnFailure"}
INIT = {"initContainers": [{"name": "i", "image": "nginx:1"}]}
SIDE = {"initContainers": [{"name": "s", "image": "nginx:1", "restartPolicy": "Always"}]}
A, B = Case().containers
FAILURE = PodFailure("DeadlineExceeded", "late")
LOOP = container("b", EXITED, attempt=1, code=1, backoff_s=10)

TABLE: list[tuple[str, Case, str]] = [
    ("both run", Case(), "Running a=running b=running"),
    ("nothing yet", Case(sandboxes=(), containers=()), "Pending a=waiting:ContainerCreating b=waiting:ContainerCreating"),
    ("one is created", Case(containers=(A, container("b", CREATED))), "Pending a=running b=waiting:ContainerCreating"),
    ("one exited under Always", Case(containers=(A, container("b", EXITED))), "Running a=running b=terminated:Completed"),
    ("one backs off", Case(containers=(A, LOOP)), "Running a=running b=waiting:CrashLoopBackOff"),
    ("both back off", Case(containers=(container("a", EXITED, attempt=1, backoff_s=10), LOOP)),
     "Running a=waiting:CrashLoopBackOff b=waiting:CrashLoopBackOff"),
    ("back-off is over", Case(containers=(A, container("b", EXITED, attempt=1, code=1, backoff_s=4))),
     "Running a=running b=terminated:Error"),
    ("a pull failed", Case(containers=(A,), context={"waiting": {"b": WaitingReason("ErrImagePull", "m")}}),
     "Pending a=running b=waiting:ErrImagePull"),
    ("all succeeded under Never", Case(NEVER, containers=(container("a", EXITED), container("b", EXITED))),
     "Succeeded a=terminated:Completed b=terminated:Completed"),
    ("one failed under Never", Case(NEVER, containers=(container("a", EXITED), container("b", EXITED, code=1))),
     "Failed a=terminated:Completed b=terminated:Error"),
    ("one still runs under Never", Case(NEVER, containers=(A, container("b", EXITED, code=1))),
     "Running a=running b=terminated:Error"),
    ("one failed under OnFailure", Case(ON_FAILURE, containers=(container("a", EXITED), LOOP)),
     "Running a=terminated:Completed b=waiting:CrashLoopBackOff"),
    ("all succeeded under OnFailure", Case(ON_FAILURE, containers=(container("a", EXITED), container("b", EXITED))),
     "Succeeded a=terminated:Completed b=terminated:Completed"),
    ("all ended and the pod is deleted", Case(containers=(container("a", EXITED), LOOP), context={"is_ending": True}),
     "Failed a=terminated:Completed b=terminated:Error"),
    ("one killed to be started again under Never", Case(NEVER, containers=(
        container("a", EXITED), container("b", EXITED, code=137)),
        context={"view": LifecycleView(killed_to_restart=frozenset({ContainerId("b0")}))}),
     "Running a=terminated:Completed b=terminated:Error"),
    ("final phase stays", Case(previous={"phase": "Failed"}), "Failed a=running b=running"),
    ("deadline, still running", Case(context={"failure": FAILURE}), "Running a=running b=running"),
    ("deadline, stopped", Case(containers=(container("a", EXITED), LOOP),
     context={"failure": FAILURE, "is_ending": True}), "Failed a=terminated:Completed b=terminated:Error"),
    ("init: runs", Case(INIT, containers=(container("i", RUNNING),)),
     "Pending i=running a=waiting:PodInitializing b=waiting:PodInitializing"),
    ("init: failed under Never", Case({**INIT, **NEVER}, containers=(container("i", EXITED, code=1),)),
     "Failed i=terminated:Error a=waiting:PodInitializing b=waiting:PodInitializing"),
    ("init: backs off", Case(INIT, containers=(container("i", EXITED, attempt=1, code=1, backoff_s=10),)),
     "Pending i=waiting:CrashLoopBackOff a=waiting:PodInitializing b=waiting:PodInitializing"),
    ("init: done", Case(INIT, containers=(container("i", EXITED), A, B)),
     "Running i=terminated:Completed a=running b=running"),
    ("sidecar: runs", Case(SIDE, containers=(container("s", RUNNING), A, B)), "Running s=running a=running b=running"),
    ("sidecar: restarts while the apps run", Case(SIDE, containers=(
        container("s", EXITED, attempt=1, code=1, backoff_s=10), A, B)),
     "Running s=waiting:CrashLoopBackOff a=running b=running"),
    ("sidecar: outlives the apps", Case({**SIDE, **NEVER}, containers=(
        container("s", RUNNING), container("a", EXITED), container("b", EXITED))),
     "Running s=running a=terminated:Completed b=terminated:Completed"),
    ("sidecar: stopped last", Case({**SIDE, **NEVER}, containers=(
        container("s", EXITED, code=143), container("a", EXITED), container("b", EXITED)),
        context={"is_ending": True}),
     "Succeeded s=terminated:Error a=terminated:Completed b=terminated:Completed"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_phase_and_states(case: Case, expected: str) -> None:
    assert describe(case.generate()) == expected


def test_reason_and_message_are_kept_as_long_as_the_phase() -> None:
    told = {"reason": "NodeLost", "message": "the node does not answer"}
    kept = Case(previous={"phase": "Running", **told}).generate()
    assert {key: kept.get(key) for key in told} == told
    changed = Case(previous={"phase": "Pending", **told}).generate()
    assert changed["phase"] == "Running"
    assert changed.keys().isdisjoint(told)


def _conditions(case: Case) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c.get("reason", ""), c.get("message", "")) for c in case.generate()["conditions"]}


def test_conditions_of_a_ready_pod_are_in_the_order_of_the_kubelet() -> None:
    conditions = _conditions(Case())
    assert list(conditions) == ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    assert set(conditions.values()) == {("True", "", "")}


def test_unready_containers_are_named_in_the_order_of_the_spec() -> None:
    verdict = ("False", "ContainersNotReady", "containers with unready status: [b a]")
    conditions = _conditions(Case(containers=()))
    assert (conditions["Ready"], conditions["ContainersReady"]) == (verdict, verdict)


def test_uninitialised_pod_names_its_init_containers() -> None:
    conditions = _conditions(Case(INIT, containers=(container("i", RUNNING),)))
    assert conditions["Initialized"] == (
        "False", "ContainersNotInitialized", "containers with incomplete status: [i]",
    )  # fmt: skip


def test_restarting_sidecar_does_not_undo_the_initialisation() -> None:
    """kubernetes#132826, #137146: read from facts, not from what runs now."""
    dead = container("s", EXITED, attempt=1, code=1, backoff_s=10)
    conditions = _conditions(Case(SIDE, containers=(dead, A, B)))
    assert conditions["Initialized"][0] == "True"
    assert conditions["Ready"] == ("False", "ContainersNotReady", "containers with unready status: [s]")


def test_completed_pod_is_not_ready_because_it_is_completed() -> None:
    done = (container("a", EXITED), container("b", EXITED))
    conditions = _conditions(Case(NEVER, (sandbox(ready=False),), done))
    assert conditions["Ready"] == ("False", "PodCompleted", "")
    assert conditions["Initialized"] == ("True", "PodCompleted", "")
    assert conditions["PodReadyToStartContainers"][0] == "False"


def test_readiness_gate_keeps_the_pod_unready() -> None:
    case = Case({"readinessGates": [{"conditionType": "x/y"}]})
    assert _conditions(case)["Ready"] == (
        "False", "ReadinessGatesNotReady", 'corresponding condition of pod readiness gate "x/y" does not exist.',
    )  # fmt: skip


def test_transition_times_and_foreign_conditions_are_kept() -> None:
    old = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "ContainersReady", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "x/y", "status": "True"},
    ]
    conditions = {c["type"]: c for c in Case(previous={"conditions": old}).generate()["conditions"]}
    assert conditions["Ready"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert conditions["ContainersReady"]["lastTransitionTime"] == "2026-11-23T16:00:00Z"
    assert conditions["x/y"] == {"type": "x/y", "status": "True"}


def _entry(case: Case, name: str = "b") -> dict[str, Any]:
    found: dict[str, Any] = next(e for e in case.generate()["containerStatuses"] if e["name"] == name)
    return found


def test_running_container_shows_its_last_end() -> None:
    case = Case(containers=(A, container("b", RUNNING, attempt=1), container("b", EXITED, code=7, ago_s=60)))
    entry = _entry(case)
    assert entry["restartCount"] == 1
    assert entry["lastState"]["terminated"]["exitCode"] == 7
    assert entry["lastState"]["terminated"]["containerID"] == "podhost://b0"
    assert entry["containerID"] == "podhost://b1"


def test_last_end_is_remembered_when_its_container_was_removed() -> None:
    older = {"terminated": {"exitCode": 7, "containerID": "podhost://b0"}}
    running = {"name": "b", "state": {"running": {}}, "lastState": older, "containerID": "podhost://b1"}
    previous = {"containerStatuses": [running]}
    entry = _entry(Case(containers=(A, container("b", RUNNING, attempt=1)), previous=previous))
    assert entry["lastState"] == older


def test_container_that_vanished_counts_as_a_restart() -> None:
    running = {
        "name": "b", "state": {"running": {"startedAt": "2026-11-23T15:00:00Z"}}, "lastState": {},
        "restartCount": 2, "containerID": "podhost://old",
    }  # fmt: skip
    entry = _entry(Case(containers=(A,), previous={"containerStatuses": [running]}))
    assert entry["restartCount"] == 3
    assert entry["lastState"]["terminated"]["exitCode"] == 137
    assert entry["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_container_whose_startup_probe_has_not_succeeded_is_neither_started_nor_ready() -> None:
    entry = _entry(Case(context={"view": LifecycleView(not_started=frozenset({B.id}))}))
    assert (entry["started"], entry["ready"]) == (False, False)


def test_container_whose_readiness_probe_fails_is_started_but_not_ready() -> None:
    status = Case(context={"view": LifecycleView(not_ready=frozenset({B.id}))}).generate()
    entry = next(e for e in status["containerStatuses"] if e["name"] == "b")
    assert (entry["started"], entry["ready"]) == (True, False)
    conditions = {c["type"]: (c["status"], c.get("reason"), c.get("message")) for c in status["conditions"]}
    unready = ("False", "ContainersNotReady", "containers with unready status: [b]")
    assert conditions["ContainersReady"] == conditions["Ready"] == unready


def test_container_is_not_shown_as_running_before_its_hook_has_returned() -> None:
    view = LifecycleView(not_started=frozenset({B.id}), in_post_start=frozenset({B.id}))
    entry = _entry(Case(context={"view": view}))
    assert entry["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert (entry["started"], entry["ready"]) == (False, False)


def test_addresses_stay_with_a_finished_pod() -> None:
    previous = {"podIPs": [{"ip": "10.0.0.9"}], "podIP": "10.0.0.9"}
    status = Case(NEVER, (sandbox(ready=False),), (container("a", EXITED),), previous).generate()
    assert status["podIP"] == "10.0.0.9"
    assert (status["hostIP"], status["hostIPs"]) == ("192.168.0.1", [{"ip": "192.168.0.1"}])


def test_same_facts_give_the_same_status_again() -> None:
    for _, case, _ in TABLE:
        first = case.generate()
        again = Case(case.spec, case.sandboxes, case.containers, first, case.context).generate()
        assert again == first


def test_mounts_say_how_far_they_are_read_only_and_which_image_they_show() -> None:
    mounts = [
        {"name": "web", "mountPath": "/web"},
        {"name": "d", "mountPath": "/plain", "readOnly": True},
        {"name": "d", "mountPath": "/deep", "readOnly": True, "recursiveReadOnly": "IfPossible"},
    ]
    case: dict[str, Any] = {"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": mounts}]}}
    first = Case(**case, context={"volume_images": {"web": "nginx@sha256:1"}}).generate()
    entry = next(each for each in first["containerStatuses"] if each["name"] == "b")
    assert entry["volumeMounts"] == [
        {"name": "web", "mountPath": "/web", "volumeStatus": {"image": {"imageRef": "nginx@sha256:1"}}},
        {"name": "d", "mountPath": "/plain", "readOnly": True, "recursiveReadOnly": "Disabled"},
        {"name": "d", "mountPath": "/deep", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]
    # The tag has moved on; this container has not.
    moved = Case(**case, previous=first, context={"volume_images": {"web": "nginx@sha256:2"}}).generate()
    assert moved["containerStatuses"] == first["containerStatuses"]
    again = Case(**case, previous=first, containers=(A, container("b", RUNNING, attempt=1)),
                 context={"volume_images": {"web": "nginx@sha256:2"}}).generate()  # fmt: skip
    entry = next(each for each in again["containerStatuses"] if each["name"] == "b")
    assert entry["volumeMounts"][0]["volumeStatus"]["image"]["imageRef"] == "nginx@sha256:2"


LOST = {
    "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None,
    "message": "The container could not be located when the pod was terminated",
}  # fmt: skip
I_INIT = {"initContainers": [{"name": "i"}, {"name": "j"}]}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        # Never started, in a pod without init containers or with an app container that has run.
        (Case(containers=(container("a", EXITED, code=137),)), "Failed a=terminated:Error b=terminated:ContainerStatusUnknown"),
        (Case(containers=()), "Failed a=terminated:ContainerStatusUnknown b=terminated:ContainerStatusUnknown"),
        (Case(containers=(container("a", EXITED),)), "Failed a=terminated:Completed b=terminated:ContainerStatusUnknown"),
        # Not initialised: the init container says enough.
        (Case(I_INIT, containers=(container("i", EXITED, code=1),)),
         "Failed i=terminated:Error j=waiting:PodInitializing a=waiting:PodInitializing b=waiting:PodInitializing"),
        (Case(I_INIT, containers=()),
         "Failed i=waiting:PodInitializing j=waiting:PodInitializing a=waiting:PodInitializing b=waiting:PodInitializing"),
        (Case(I_INIT, containers=(container("j", EXITED),)),
         "Failed i=terminated:ContainerStatusUnknown j=terminated:Completed "
         "a=terminated:ContainerStatusUnknown b=terminated:ContainerStatusUnknown"),
        # What still runs will have an end.
        (Case(containers=(container("a", RUNNING),)), "Pending a=running b=waiting:ContainerCreating"),
        (Case(containers=(container("a", EXITED), container("b", EXITED))), "Succeeded a=terminated:Completed b=terminated:Completed"),
    ],
)  # fmt: skip
def test_pod_that_has_ended_has_no_container_without_an_end(case: Case, words: str) -> None:
    status = Case(case.spec, case.sandboxes, case.containers, context={"is_ending": True}).generate()
    assert describe(status) == words
    lost = [
        e["state"]["terminated"] for e in status["containerStatuses"] if "ContainerStatusUnknown" in str(e["state"])
    ]
    assert all(end == LOST for end in lost)


@pytest.mark.parametrize(("others", "room"), [(0, 4096), (1, 4096), (10, 1024)])
def test_termination_messages_share_twelve_kib(others: int, room: int) -> None:
    spec = {"containers": [{"name": "a"}, {"name": "b"}, *({"name": f"c{n}"} for n in range(others))]}
    facts = (container("a", EXITED, code=1), container("a", RUNNING, attempt=1), container("b", EXITED, code=1))
    messages = {facts[0].id: "x" * 4096, facts[2].id: "é" * 2048}
    status = Case(spec, containers=facts, context={"messages": messages, "is_ending": True}).generate()
    a, b = status["containerStatuses"][:2]
    assert a["lastState"]["terminated"]["message"] == "x" * room
    assert b["state"]["terminated"]["message"] == "é" * (room // 2)
