"""What admission adds to a pod."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api.errors import ApiError
from podhost.apiserver.pod_admission import (
    POLICY_DEFAULTED_ANNOTATION,
    admit_pod,
    admit_pod_update,
    note_defaulted_pull_policies,
)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [], **spec}}


ROBOT = {"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "regcred"}]}


def admit(candidate: dict[str, Any]) -> dict[str, Any]:
    admit_pod(candidate, lambda namespace, name: ROBOT if (namespace, name) == ("ns", "robot") else None)
    spec: dict[str, Any] = candidate["spec"]
    return spec


def test_plain_pod_gets_account_priority_and_tolerations() -> None:
    spec = admit(pod())
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert spec["tolerations"] == [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in ("not-ready", "unreachable")
    ]


@pytest.mark.parametrize(
    ("toleration", "added"),
    [
        ({"operator": "Exists"}, []),
        ({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, ["node.kubernetes.io/unreachable"]),
        (
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
            ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"],
        ),
    ],
)
def test_own_tolerations_are_kept(toleration: dict[str, str], added: list[str]) -> None:
    spec = admit(pod(tolerations=[toleration]))
    assert spec["tolerations"][0] == toleration
    assert [each["key"] for each in spec["tolerations"][1:]] == added


def test_account_must_exist() -> None:
    assert admit(pod(serviceAccountName="robot"))["serviceAccountName"] == "robot"
    assert admit(pod(serviceAccount="robot"))["serviceAccountName"] == "robot"
    with pytest.raises(ApiError, match="error looking up service account ns/x") as caught:
        admit(pod(serviceAccountName="x"))
    assert caught.value.code == 403


def test_pull_secrets_of_the_account_are_used_unless_the_pod_has_its_own() -> None:
    assert admit(pod(serviceAccountName="robot"))["imagePullSecrets"] == [{"name": "regcred"}]
    own = [{"name": "own"}]
    assert admit(pod(serviceAccountName="robot", imagePullSecrets=own))["imagePullSecrets"] == own
    assert "imagePullSecrets" not in admit(pod())


def test_a_replaced_pod_keeps_what_admission_had_added() -> None:
    old = pod()
    admit(old)
    new = pod()
    admit_pod_update(new, old)
    assert {key: new["spec"].get(key) for key in ("priority", "preemptionPolicy", "tolerations")} == {
        key: old["spec"][key] for key in ("priority", "preemptionPolicy", "tolerations")
    }


def test_priority_classes() -> None:
    assert admit(pod(priorityClassName="system-node-critical"))["priority"] == 2_000_001_000
    with pytest.raises(ApiError, match="no PriorityClass with name high was found"):
        admit(pod(priorityClassName="high"))
    with pytest.raises(ApiError, match="priority admission controller computed 0"):
        admit(pod(priority=7))


@pytest.mark.parametrize(
    ("containers", "noted"),
    [
        ([{"name": "a", "image": "nginx"}], "a"),
        ([{"name": "a", "image": "nginx"}, {"name": "b", "image": "x:latest"}], "a,b"),
        ([{"name": "a", "image": "nginx", "imagePullPolicy": "Always"}], ""),
        ([{"name": "a", "image": "nginx:1.25"}], None),
        ([{"name": "a", "image": "nginx", "imagePullPolicy": "Never"}], None),
    ],
)
def test_defaulted_pull_policies_are_noted(containers: list[dict[str, str]], noted: str | None) -> None:
    candidate = pod(containers=containers)
    note_defaulted_pull_policies(candidate)
    annotations = candidate["metadata"].get("annotations", {})
    assert annotations.get(POLICY_DEFAULTED_ANNOTATION) == noted


def test_pod_without_a_spec_is_left_to_validation() -> None:
    admit_pod({"metadata": {"name": "p"}}, lambda *_: None)
    note_defaulted_pull_policies({"metadata": {"name": "p"}})


def test_policies_of_added_containers_are_noted_beside_those_known() -> None:
    containers = [{"name": "a", "image": "x:latest", "imagePullPolicy": "Always"}]
    candidate = pod(containers=containers, ephemeralContainers=[{"name": "e", "image": "debian"}])
    note_defaulted_pull_policies(candidate, "ephemeralContainers")
    assert candidate["metadata"]["annotations"] == {POLICY_DEFAULTED_ANNOTATION: "e"}
    candidate["spec"]["ephemeralContainers"].append({"name": "f", "image": "debian"})
    note_defaulted_pull_policies(candidate, "ephemeralContainers")
    noted = candidate["metadata"]["annotations"][POLICY_DEFAULTED_ANNOTATION]
    assert set(noted.split(",")) == {"e", "f"}
