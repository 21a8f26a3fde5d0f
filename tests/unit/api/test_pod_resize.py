"""pods/resize: what may change, in Kubernetes' words; quality of service and requests of whole pods."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from podhost.api import kinds
from podhost.api.kind import validate
from podhost.api.qos import compute_qos_class
from podhost.api.strategies import prepare_pod_resize
from podhost.api.validation.pod_resize import validate_pod_resize

Document = dict[str, Any]
QOS = 'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'


def make_pod() -> Document:
    def container(name: str, **more: Any) -> Document:
        resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
        return {"name": name, "image": "b", "resources": resources, **more}

    pod = {
        "metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}, "generation": 1},
        "spec": {
            "containers": [container("main")],
            "initContainers": [container("once"), container("side", restartPolicy="Always")],
        },
    }
    kinds.POD.default(pod)
    kinds.POD.prepare_create(pod)
    return pod


def attempt(pod: Document, group: str = "containers", index: int = 0, **sections: Any) -> tuple[Document, list[str]]:
    new = copy.deepcopy(pod)
    for section, values in sections.items():
        target = new["spec"][group][index]["resources"].setdefault(section, {})
        target.update(values)
        for name in [name for name, value in target.items() if value is None]:
            del target[name]
    prepare_pod_resize(new, pod)
    return new, [error.message for error in validate_pod_resize(new, pod)]


_ROWS: list[tuple[dict[str, Any], list[str]]] = [
    ({"requests": {"cpu": "500m"}}, []),
    ({"limits": {"memory": "1Gi"}}, []),
    ({"group": "initContainers", "index": 1, "limits": {"cpu": "4"}}, []),
    ({"limits": {"cpu": None}}, ["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"]),
    (
        {"requests": {"cpu": "3"}},
        ['spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to cpu limit of 2'],
    ),
    (
        {"limits": {"ephemeral-storage": "1Gi"}},
        ["spec: Forbidden: only cpu and memory resources are mutable"],
    ),
    (
        {"group": "initContainers", "index": 1, "limits": {"ephemeral-storage": "1Gi"}},
        ["spec: Forbidden: only cpu and memory resources for sidecar containers are mutable"],
    ),
    (
        {"group": "initContainers", "index": 0, "limits": {"cpu": "3"}},
        ["spec: Forbidden: resources for non-sidecar init containers are immutable"],
    ),
]


@pytest.mark.parametrize(("change", "messages"), _ROWS)
def test_what_may_change_and_what_is_said_of_the_rest(change: dict[str, Any], messages: list[str]) -> None:
    assert attempt(make_pod(), **change)[1] == messages


def test_the_class_of_a_pod_stays() -> None:
    pod = make_pod()
    new = copy.deepcopy(pod)
    for group in ("containers", "initContainers"):
        for container in new["spec"][group]:
            container["resources"]["requests"] = dict(container["resources"]["limits"])
    prepare_pod_resize(new, pod)
    assert QOS in [error.message for error in validate_pod_resize(new, pod)]


def test_nothing_but_resources_is_taken_from_the_request() -> None:
    pod = make_pod()
    wanted = copy.deepcopy(pod)
    wanted["metadata"]["labels"] = {"x": "y"}
    wanted["spec"]["containers"][0] |= {"image": "evil", "command": ["sh"]}
    wanted["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1500m"
    wanted["spec"]["hostNetwork"] = True
    wanted["status"]["phase"] = "Failed"
    new = copy.deepcopy(wanted)
    prepare_pod_resize(new, pod)
    expected = copy.deepcopy(pod)
    expected["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1500m"
    expected["metadata"]["generation"] = 2
    assert new == expected


def test_resources_of_the_whole_pod_decide_its_class_and_get_requests() -> None:
    pod = make_pod()
    pod["spec"]["resources"] = {"limits": {"cpu": "4", "memory": "8Gi"}}
    kinds.POD.default(pod)
    # The sidecar's and the main container's together; the class is no longer that of the containers.
    assert pod["spec"]["resources"]["requests"] == {"cpu": "2", "memory": "2Gi"}
    assert compute_qos_class(pod["spec"]) == "Burstable"
    pod["spec"]["resources"] = {"limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "4", "memory": "8Gi"}}
    assert compute_qos_class(pod["spec"]) == "Guaranteed"
    assert validate(kinds.POD, pod) == []
