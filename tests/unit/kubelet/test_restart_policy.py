"""Restart rules (KEP-5307) and the restart of all containers (KEP-5532): what is done next, and what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus, PodSandboxStatus, SandboxState
from podhost.kubelet.container_status import StatusContext
from podhost.kubelet.pod_actions import PodActions, compute_pod_actions
from podhost.kubelet.pod_status import generate_pod_status
from podhost.kubelet.restart_policy import find_rule_action
from podhost.kubelet.runtime_status import LABEL_ROUND, PodRuntimeStatus, build_runtime_status
from podhost.kubelet.settings import BackoffSettings

S = 1_000_000_000
NOW = 1_795_449_600 * S
RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED


def rule(action: str, *codes: int, operator: str = "In") -> dict[str, Any]:
    return {"action": action, "exitCodes": {"operator": operator, "values": list(codes)}}


RETRY_3 = {"restartPolicy": "Never", "restartPolicyRules": [rule("Restart", 3)]}
ALL_42 = {"restartPolicy": "Never", "restartPolicyRules": [rule("RestartAllContainers", 42)]}
NEVER = {"restartPolicy": "Never"}


def observe(*containers: ContainerStatus) -> PodRuntimeStatus:
    sandbox = PodSandboxStatus(
        id=SandboxId("s"), namespace="default", name="web", uid=PodUID("u"), attempt=0,
        state=SandboxState.READY, created_at_ns=1,
    )  # fmt: skip
    return build_runtime_status((sandbox,), containers)


def was(name: str, state: ContainerState, *, code: int = 0, attempt: int = 0, number: int = 0) -> ContainerStatus:
    return ContainerStatus(
        id=ContainerId(f"{name}{attempt}"), sandbox_id=SandboxId("s"), pod_uid=PodUID("u"), pod_namespace="default",
        pod_name="web", name=name, attempt=attempt, state=state, image_ref="i", image_id=ImageId("i"),
        created_at_ns=NOW - 9 * S + attempt, started_at_ns=NOW - 8 * S, exit_code=code,
        finished_at_ns=NOW - 5 * S if state is EXITED else 0, log_path=Path("/x"), labels={LABEL_ROUND: str(number)},
    )  # fmt: skip


def make(a: dict[str, Any], b: dict[str, Any], **spec: Any) -> models.Pod:
    return msgspec.convert(make_pod("web", {"name": "a", **a}, {"name": "b", **b}, **spec), models.Pod)


def act(pod: models.Pod, observed: PodRuntimeStatus) -> PodActions:
    return compute_pod_actions(pod, observed, NOW, BackoffSettings())


def words(actions: PodActions) -> str:
    found = ["kill-pod"] * actions.kill_pod
    found += [f"start:{s.name}/{s.attempt}@{s.round}" for s in (*actions.start, *actions.backing_off)]
    return " ".join(found + [f"kill:{k.name}" for k in actions.kill])


def show(pod: models.Pod, observed: PodRuntimeStatus, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    return generate_pod_status(pod, observed, previous or {}, StatusContext(now_ns=NOW))


@pytest.mark.parametrize(
    ("rules", "code", "action"),
    [
        ([rule("Restart", 1, 2)], 2, "Restart"),
        ([rule("Restart", 1, 2)], 3, None),
        ([rule("Restart", 0, operator="NotIn")], 9, "Restart"),
        ([rule("Restart", 0, operator="NotIn")], 0, None),
        ([rule("Restart", 5), rule("RestartAllContainers", 5)], 5, "Restart"),
        ([rule("Restart"), rule("RestartAllContainers", operator="NotIn")], 5, "RestartAllContainers"),
    ],
)
def test_the_first_rule_that_matches_an_exit_code_counts(rules: list[Any], code: int, action: str | None) -> None:
    document = {"name": "c", "restartPolicy": "Never", "restartPolicyRules": rules}
    assert find_rule_action(msgspec.convert(document, models.Container), code) == action


ROWS = [
    ("rule matches", RETRY_3, NEVER, was("a", EXITED, code=3), "start:a/1@0", "Running"),
    ("rule does not match", RETRY_3, NEVER, was("a", EXITED, code=4), "", "Running"),
    ("own policy Always in a pod with Never", {"restartPolicy": "Always"}, NEVER, was("a", EXITED), "start:a/1@0",
     "Running"),
    ("own policy Never in a pod with Always", NEVER, {}, was("a", EXITED, code=1), "", "Running"),
    ("own policy OnFailure, success", {"restartPolicy": "OnFailure"}, {}, was("a", EXITED), "", "Running"),
    ("own policy OnFailure, failure", {"restartPolicy": "OnFailure"}, NEVER, was("a", EXITED, code=1), "start:a/1@0",
     "Running"),
    ("trigger", ALL_42, NEVER, was("a", EXITED, code=42), "kill:b", "Running"),
    ("trigger exits otherwise", ALL_42, NEVER, was("a", EXITED, code=1), "", "Running"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "pod", "facts", "expected", "phase"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_one_container_has_exited_and_the_other_runs(
    a: dict[str, Any], pod: dict[str, Any], facts: ContainerStatus, expected: str, phase: str
) -> None:
    given, observed = make(a, {}, **pod), observe(facts, was("b", RUNNING))
    assert words(act(given, observed)) == expected
    assert show(given, observed)["phase"] == phase


@pytest.mark.parametrize(
    ("a", "code", "expected", "phase"),
    [
        (RETRY_3, 3, "start:a/1@0", "Running"),
        (RETRY_3, 4, "kill-pod", "Failed"),
        ({"restartPolicy": "Always"}, 0, "start:a/1@0", "Running"),
        (NEVER, 0, "kill-pod", "Succeeded"),
    ],
)
def test_all_containers_have_exited(a: dict[str, Any], code: int, expected: str, phase: str) -> None:
    pod, observed = make(a, NEVER), observe(was("a", EXITED, code=code), was("b", EXITED))
    assert words(act(pod, observed)) == expected
    assert show(pod, observed)["phase"] == phase


def test_an_init_container_follows_its_own_rules() -> None:
    init = {"name": "i", "image": "i", **RETRY_3}
    pod = make({}, {}, initContainers=[init], **NEVER)
    assert words(act(pod, observe(was("i", EXITED, code=3)))) == "start:i/1@0"
    assert show(pod, observe(was("i", EXITED, code=3)))["phase"] == "Pending"
    assert words(act(pod, observe(was("i", EXITED, code=4)))) == "kill-pod"
    assert show(pod, observe(was("i", EXITED, code=4)))["phase"] == "Failed"


def test_restart_of_all_containers_runs_the_init_containers_again() -> None:
    pod = make(ALL_42, {}, initContainers=[{"name": "i", "image": "i"}], **NEVER)
    done, trigger = was("i", EXITED), was("a", EXITED, code=42)
    first = act(pod, observe(done, trigger, was("b", RUNNING)))
    assert words(first) == "kill:b"
    assert (first.kill[0].grace_s, first.kill[0].reason) == (0, "RestartAllContainers")
    assert show(pod, observe(done, trigger, was("b", RUNNING)))["phase"] == "Running"
    ended = (done, trigger, was("b", EXITED, code=137))
    assert show(pod, observe(*ended))["phase"] == "Running"
    assert words(act(pod, observe(*ended))) == "start:i/1@1"
    second_init = (*ended, was("i", RUNNING, attempt=1, number=1))
    assert words(act(pod, observe(*second_init))) == ""
    assert show(pod, observe(*second_init))["phase"] == "Running"
    second = (*ended, was("i", EXITED, attempt=1, number=1))
    assert words(act(pod, observe(*second))) == "start:a/1@1 start:b/1@1"
    made = (*ended, was("i", ContainerState.CREATED, attempt=1, number=1))
    assert show(pod, observe(*made))["phase"] == "Running"
    broken = (*ended, was("i", EXITED, code=1, attempt=1, number=1))
    assert words(act(pod, observe(*broken))) == "kill-pod"
    assert show(pod, observe(*broken))["phase"] == "Failed"
    assert words(act(pod, observe(*second, was("a", RUNNING, attempt=1, number=1)))) == "start:b/1@1"


def test_restart_of_all_containers_is_shown() -> None:
    pod = make(ALL_42, {}, **NEVER)
    between = show(pod, observe(was("a", EXITED, code=42), was("b", EXITED, code=137)))
    conditions = {c["type"]: c for c in between["conditions"]}
    assert conditions["AllContainersRestarting"]["status"] == "True"
    assert conditions["AllContainersRestarting"]["reason"] == "RestartAllContainersStarted"
    for entry in between["containerStatuses"]:
        assert entry["state"]["waiting"]["reason"] == "RestartingAllContainers"
        assert entry["restartCount"] == 1
    old = (was("a", EXITED, code=42), was("b", EXITED, code=137))
    new = (was("a", RUNNING, attempt=1, number=1), was("b", RUNNING, attempt=1, number=1))
    after = show(pod, observe(*old, *new), between)
    assert {c["type"]: c["status"] for c in after["conditions"]}["AllContainersRestarting"] == "False"
    for entry in after["containerStatuses"]:
        ended = entry["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "RestartingAllContainers")
        assert (entry["restartCount"], entry["ready"]) == (1, True)


def test_a_pod_without_such_a_rule_has_no_such_condition() -> None:
    status = show(make(RETRY_3, {}), observe(was("a", RUNNING), was("b", RUNNING)))
    assert "AllContainersRestarting" not in {c["type"] for c in status["conditions"]}
