"""The subresource ``ephemeralcontainers``: what it may change, and Kubernetes' words about the rest."""

from __future__ import annotations

import copy
from typing import Any

from podhost.api.defaulting import default_pod
from podhost.api.objects import MIRROR_ANNOTATION
from podhost.api.strategies import prepare_ephemeral_containers_update
from podhost.api.validation.pods import validate_ephemeral_containers_update


def make(*ephemeral: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
    if ephemeral:
        spec["ephemeralContainers"] = list(ephemeral)
    pod = {"metadata": {"name": "p", "namespace": "n", "resourceVersion": "7", **metadata}, "spec": spec}
    default_pod(pod)
    return pod


OLD = make({"name": "e", "image": "i"})


def check(new: dict[str, Any], old: dict[str, Any] = OLD) -> list[str]:
    return [error.message for error in validate_ephemeral_containers_update(new, old)]


def test_only_ephemeral_containers_are_taken_from_what_is_sent() -> None:
    new = copy.deepcopy(OLD)
    new["spec"]["containers"][0]["image"] = "other"
    new["spec"]["ephemeralContainers"].append({"name": "f", "image": "i"})
    new["metadata"]["labels"] = {"a": "b"}
    new["status"] = {"phase": "Failed"}
    prepare_ephemeral_containers_update(new, OLD)
    assert [c["name"] for c in new["spec"].pop("ephemeralContainers")] == ["e", "f"]
    assert new == {**OLD, "spec": {k: v for k, v in OLD["spec"].items() if k != "ephemeralContainers"}}


def test_what_is_there_can_neither_change_nor_go() -> None:
    assert check(make({"name": "f", "image": "i"}, {"name": "e", "image": "i"})) == []
    assert check(make({"name": "f", "image": "i"})) == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed\n'
    ]
    (message,) = check(make({"name": "e", "image": "j"}))
    assert message.startswith(
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be changed\n'
    )


def test_names_and_fields_are_those_that_kubernetes_permits() -> None:
    added = {"name": "c", "image": "i", "ports": [{"containerPort": 1}], "targetContainerName": "x"}
    assert check(make(added), make()) == [
        'spec.ephemeralContainers[0].name: Duplicate value: "c"',
        'spec.ephemeralContainers[0].targetContainerName: Not found: "x"',
        "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
    ]


def test_static_pods_have_none() -> None:
    mirror = make(annotations={MIRROR_ANNOTATION: "hash"})
    (message,) = check(make({"name": "e", "image": "i"}), mirror)
    assert message.endswith("Forbidden: static pods do not support ephemeral containers")
