"""What admission adds to a pod."""

from __future__ import annotations

from typing import Any

import pytest

from harness.covers import covers
from podhost.api.errors import ApiError
from podhost.api.priority_classes import build_system_classes
from podhost.api.validation.metadata import ANNOTATIONS_MAX_BYTES
from podhost.apiserver.pod_admission import (
    POLICY_DEFAULTED_ANNOTATION,
    admit_pod,
    admit_pod_update,
    note_defaulted_pull_policies,
)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [], **spec}}


CLASSES = [*build_system_classes(), {"metadata": {"name": "low"}, "value": -5, "preemptionPolicy": "Never"}]
ROBOT = {"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "regcred"}]}


def admit(candidate: dict[str, Any]) -> dict[str, Any]:
    accounts: dict[str, dict[str, Any]] = {"robot": ROBOT, "shy": {**ROBOT, "automountServiceAccountToken": False}}
    admit_pod(candidate, lambda namespace, name: accounts.get(name) if namespace == "ns" else None, CLASSES)
    spec: dict[str, Any] = candidate["spec"]
    return spec


@covers("PodSpec.serviceAccount")
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


def containers(**more: Any) -> dict[str, Any]:
    return pod(**{"containers": [{"name": "c"}], "initContainers": [{"name": "i"}], **more})


def test_every_container_gets_token_certificate_and_namespace() -> None:
    spec = admit(containers())
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    mount = {"name": volume["name"], "readOnly": True, "mountPath": place}
    assert [c["volumeMounts"] for c in (*spec["initContainers"], *spec["containers"])] == [[mount], [mount]]
    again = admit(pod(**spec))
    assert (again["volumes"], again["containers"]) == (spec["volumes"], spec["containers"])


def test_a_container_that_has_something_else_there_keeps_it() -> None:
    own = [{"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    spec = admit(pod(containers=[{"name": "a", "volumeMounts": own}]))
    assert spec["containers"][0]["volumeMounts"] == own
    assert "volumes" not in spec


@pytest.mark.parametrize(
    ("spec", "mounted"),
    [
        ({}, True),
        ({"automountServiceAccountToken": False}, False),
        ({"serviceAccountName": "shy"}, False),
        ({"serviceAccountName": "shy", "automountServiceAccountToken": True}, True),
    ],
)
@covers("PodSpec.automountServiceAccountToken")
def test_the_pods_wish_counts_for_more_than_the_accounts(spec: dict[str, Any], mounted: bool) -> None:
    assert bool(admit(containers(**spec)).get("volumes")) is mounted


def test_a_mirror_pod_gets_no_token() -> None:
    mirror = containers()
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash"}
    assert "volumes" not in admit(mirror)


def test_a_pod_without_class_gets_the_global_default() -> None:
    marked = {"metadata": {"name": "usual"}, "value": 7, "globalDefault": True}
    candidate = pod()
    admit_pod(candidate, lambda *_: None, [*CLASSES, marked])
    assert (candidate["spec"]["priorityClassName"], candidate["spec"]["priority"]) == ("usual", 7)
    assert admit(pod(priorityClassName="low"))["preemptionPolicy"] == "Never"


def test_the_note_about_pull_policies_never_makes_annotations_too_long() -> None:
    many = pod(containers=[{"name": f"container-{number}", "image": "a"} for number in range(30_000)])
    note_defaulted_pull_policies(many)
    assert "annotations" not in many["metadata"]
    full = pod(containers=[{"name": "a", "image": "a"}])
    full["metadata"]["annotations"] = {"mine": "x" * (ANNOTATIONS_MAX_BYTES - 10)}
    note_defaulted_pull_policies(full)
    assert list(full["metadata"]["annotations"]) == ["mine"]
