"""Which pods a kubelet turns away, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api.node_load import NodeLoad
from podhost.kubelet.admission_rules import find_rejections

PORT = {"containerPort": 80, "hostPort": 8080}
AFFINITY = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
TAINT = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"


def pod(requests: dict[str, str] | None = None, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": requests or {}}, "ports": spec.pop("ports", [])}
    return {"metadata": {"name": "p", "labels": labels or {}}, "spec": {"containers": [container], **spec}}


def node(**spec: Any) -> dict[str, Any]:
    allocatable = {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1000", "pods": "3", "example.com/gpu": "1"}
    return {
        "metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": spec, "status": {"allocatable": allocatable},
    }  # fmt: skip


def short(resource: str, requested: int, used: int, capacity: int) -> tuple[str, str]:
    text = f"Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    return f"OutOf{resource}", text


HALF = pod({"cpu": "1500m", "memory": "700Mi"}, ports=[PORT])
TABLE: list[tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]], list[tuple[str, str]]]] = [
    ("fits", pod({"cpu": "2", "memory": "1Gi"}), node(), [], []),
    ("never fits", pod({"cpu": "64"}), node(), [], [short("cpu", 64000, 0, 2000)]),
    ("beside another", pod({"cpu": "600m"}), node(), [HALF], [short("cpu", 600, 1500, 2000)]),
    ("several, in the kubelet's order", pod({"ephemeral-storage": "2k", "memory": "1Gi", "cpu": "1"}), node(), [HALF],
     [short("cpu", 1000, 1500, 2000), short("memory", 1 << 30, 700 << 20, 1 << 30),
      short("ephemeral-storage", 2000, 0, 1000)]),
    ("too many", pod(), node(), [pod()] * 3, [short("pods", 1, 3, 3)]),
    ("without requests", pod(), node(), [HALF], []),
    ("extended", pod({"example.com/gpu": "2"}), node(), [], [short("example.com/gpu", 2, 0, 1)]),
    ("extended, unknown to the node", pod({"example.com/tpu": "2"}), node(), [], []),
    ("huge pages that the node has not", pod({"hugepages-2Mi": "2Mi"}), node(), [],
     [short("hugepages-2Mi", 2 << 20, 0, 0)]),
    ("selector", pod(nodeSelector={"disk": "hdd"}), node(), [], [("NodeAffinity", AFFINITY)]),
    ("port", pod(ports=[PORT]), node(), [HALF],
     [("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")]),
    ("resources are told before all else", pod({"cpu": "3"}, nodeSelector={"disk": "hdd"}), node(), [],
     [short("cpu", 3000, 0, 2000), ("NodeAffinity", AFFINITY)]),
    ("taint", pod(), node(taints=[{"key": "x", "effect": "NoExecute"}]), [], [("TaintToleration", TAINT)]),
    ("taint of the scheduler", pod(), node(taints=[{"key": "x", "effect": "NoSchedule"}]), [], []),
    ("tolerated", pod(tolerations=[{"key": "x", "operator": "Exists"}]),
     node(taints=[{"key": "x", "effect": "NoExecute"}]), [], []),
    ("cordoned", pod(), node(unschedulable=True), [], []),
    ("label of another system", pod({"cpu": "9"}, {"kubernetes.io/os": "windows"}), node(), [],
     [("PodOSSelectorNodeLabelDoesNotMatch",
       "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")]),
    ("another system", pod({"cpu": "9"}, os={"name": "windows"}), node(), [],
     [("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")]),
]  # fmt: skip


@pytest.mark.parametrize(("candidate", "on", "others", "wanted"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_rejections(
    candidate: dict[str, Any], on: dict[str, Any], others: list[dict[str, Any]], wanted: list[tuple[str, str]]
) -> None:
    load = NodeLoad()
    for number, other in enumerate(others):
        load.put(number, other)
    found = find_rejections(candidate, on, load)
    assert [(each.reason, each.message) for each in found] == wanted


def test_taints_do_not_concern_static_pods() -> None:
    tainted = node(taints=[{"key": "x", "effect": "NoExecute"}])
    static = pod()
    static["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    assert find_rejections(static, tainted, NodeLoad()) == []
    assert [each.reason for each in find_rejections(pod(), tainted, NodeLoad())] == ["TaintToleration"]


def test_without_a_node_nothing_is_taken() -> None:
    (found,) = find_rejections(pod(), None, NodeLoad())
    assert (found.reason, found.message) == ("InvalidNodeInfo", "Kubelet cannot get node info.")
