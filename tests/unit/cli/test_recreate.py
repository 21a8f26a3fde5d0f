"""A pod's manifest out of the pod: a base case, and one change a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podhost.cli.recreate import DEFAULTED_POLICIES, LAST_APPLIED, build_recreated_pod

TOKEN_VOLUME = {"name": "kube-api-access-x7k2p", "projected": {"sources": []}}
TOKEN_MOUNT = {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
OWN_MOUNT = {"name": "html", "mountPath": "/html"}


def live_pod(*, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "nginx", "imagePullPolicy": "Always"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "u1",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{}],
            "labels": {"app": "web"},
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {"nodeName": "vm", "containers": [container], **spec},
        "status": {"phase": "Running"},
    }


def test_what_the_system_has_put_in_is_left_out() -> None:
    assert build_recreated_pod(live_pod()) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx", "imagePullPolicy": "Always"}]},
    }


def test_node_that_the_author_chose_stays() -> None:
    applied = json.dumps({"spec": {"nodeName": "vm"}})
    assert build_recreated_pod(live_pod(annotations={LAST_APPLIED: applied}))["spec"]["nodeName"] == "vm"
    other = json.dumps({"spec": {}})
    assert "nodeName" not in build_recreated_pod(live_pod(annotations={LAST_APPLIED: other}))["spec"]


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"spec": 3}'])
def test_damaged_annotation_is_no_obstacle(text: str) -> None:
    assert "nodeName" not in build_recreated_pod(live_pod(annotations={LAST_APPLIED: text}))["spec"]


def test_token_volume_is_made_anew_and_others_stay() -> None:
    container = {"name": "web", "image": "nginx", "volumeMounts": [OWN_MOUNT, TOKEN_MOUNT]}
    pod = live_pod(volumes=[{"name": "html", "emptyDir": {}}, TOKEN_VOLUME], containers=[container])
    spec = build_recreated_pod(pod)["spec"]
    assert spec["volumes"] == [{"name": "html", "emptyDir": {}}]
    assert spec["containers"][0]["volumeMounts"] == [OWN_MOUNT]


def test_pull_policy_that_was_left_to_podhost_is_left_to_it_again() -> None:
    made = build_recreated_pod(live_pod(annotations={DEFAULTED_POLICIES: "web", "mine": "1"}))
    assert "imagePullPolicy" not in made["spec"]["containers"][0]
    assert made["metadata"]["annotations"] == {"mine": "1"}


def test_ephemeral_containers_cannot_be_created_with_a_pod() -> None:
    assert "ephemeralContainers" not in build_recreated_pod(live_pod(ephemeralContainers=[{"name": "debug"}]))["spec"]


def test_the_pod_itself_is_not_changed() -> None:
    pod = live_pod(annotations={DEFAULTED_POLICIES: "web"}, volumes=[TOKEN_VOLUME])
    before = json.dumps(pod)
    build_recreated_pod(pod)
    assert json.dumps(pod) == before
