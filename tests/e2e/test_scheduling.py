"""Which pods the one node takes, and what is said to the others."""

from __future__ import annotations

import json
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, wait_until
from harness.pods import build_pod, find_events, wait_for_event

UNHELPFUL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
AFFINITY = f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {UNHELPFUL}"
TAINT = f"0/1 nodes are available: 1 node(s) had untolerated taint(s). {UNHELPFUL}"


def _apply(daemon: Daemon, namespace: str, name: str, **spec: Any) -> None:
    manifest = build_pod(name, "debian", "sleep", "infinity", **spec)
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)


def _wait(daemon: Daemon, namespace: str, *names: str, condition: str = "condition=Ready") -> None:
    pods = [f"pod/{name}" for name in names]
    daemon.kubectl("wait", "-n", namespace, f"--for={condition}", *pods, "--timeout=40s")


def _scheduled(daemon: Daemon, namespace: str, name: str) -> dict[str, Any]:
    conditions = daemon.pod(name, namespace)["status"].get("conditions", ())
    return next((c for c in conditions if c["type"] == "PodScheduled"), {})


def _require(**term: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [term]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


@covers(
    "Affinity.nodeAffinity", "NodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
    "NodeSelector.nodeSelectorTerms", "NodeSelectorRequirement.key", "NodeSelectorRequirement.operator",
    "NodeSelectorRequirement.values", "NodeSelectorTerm.matchExpressions", "NodeSelectorTerm.matchFields",
    "PodSchedulingGate.name", "PodSpec.affinity", "PodSpec.containers", "PodSpec.nodeSelector",
    "PodSpec.schedulerName", "PodSpec.schedulingGates", "PodSpec.terminationGracePeriodSeconds",
)  # fmt: skip
@covers(
    "Affinity.nodeAffinity", "NodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
    "NodeSelector.nodeSelectorTerms", "NodeSelectorRequirement.key", "NodeSelectorRequirement.operator",
    "NodeSelectorRequirement.values", "NodeSelectorTerm.matchExpressions", "NodeSelectorTerm.matchFields",
    "PodSchedulingGate.name", "PodSpec.affinity", "PodSpec.containers", "PodSpec.nodeSelector",
    "PodSpec.schedulerName", "PodSpec.schedulingGates",
)  # fmt: skip
def test_gates_selectors_and_affinity_hold_a_pod_until_they_are_met(daemon: Daemon, namespace: str) -> None:
    (node,) = [item["metadata"]["name"] for item in daemon.get("/api/v1/nodes")["items"]]
    label = f"disk-{namespace}"
    _apply(daemon, namespace, "gated", schedulingGates=[{"name": "example.com/wait"}])
    _apply(daemon, namespace, "chosen", nodeSelector={label: "ssd"})
    _apply(daemon, namespace, "other", schedulerName="my-scheduler")
    some = _require(matchExpressions=[_expression(label, "In", "ssd", "nvme"), _expression("none", "DoesNotExist")])
    _apply(daemon, namespace, "near", affinity=some)
    here = _require(matchFields=[_expression("metadata.name", "In", node)])
    _apply(daemon, namespace, "here", affinity=here)
    _wait(daemon, namespace, "here")
    for name in ("chosen", "near"):
        assert wait_for_event(daemon, namespace, name, "FailedScheduling") == AFFINITY
        assert _scheduled(daemon, namespace, name)["reason"] == "Unschedulable"
    assert _scheduled(daemon, namespace, "gated")["reason"] == "SchedulingGated"
    assert "SchedulingGated" in daemon.kubectl("get", "pod", "-n", namespace, "gated").stdout
    assert find_events(daemon, namespace, "gated") == find_events(daemon, namespace, "other") == []

    gates = json.dumps([{"op": "remove", "path": "/spec/schedulingGates/0"}])
    daemon.kubectl("patch", "pod", "-n", namespace, "gated", "--type=json", "-p", gates)
    daemon.kubectl("label", "node", node, f"{label}=ssd")
    try:
        _wait(daemon, namespace, "gated", "chosen", "near")
    finally:
        daemon.kubectl("label", "node", node, f"{label}-")
    assert wait_for_event(daemon, namespace, "gated", "Scheduled") == (
        f"Successfully assigned {namespace}/gated to {node}"
    )
    assert not _scheduled(daemon, namespace, "other")


@covers(
    "PodSpec.tolerations", "Toleration.effect", "Toleration.key", "Toleration.operator",
    "Toleration.tolerationSeconds", "Toleration.value",
)  # fmt: skip
def test_taints_keep_pods_away_and_drive_them_out_unless_they_are_tolerated(daemon: Daemon, namespace: str) -> None:
    (node,) = [item["metadata"]["name"] for item in daemon.get("/api/v1/nodes")["items"]]
    key = f"only-{namespace}"
    _apply(daemon, namespace, "before")
    _wait(daemon, namespace, "before")
    daemon.kubectl("taint", "node", node, f"{key}=gpu:NoSchedule")
    try:
        _apply(daemon, namespace, "kept-out")
        _apply(daemon, namespace, "equal", tolerations=[{"key": key, "value": "gpu", "effect": "NoSchedule"}])
        _apply(daemon, namespace, "exists", tolerations=[{"key": key, "operator": "Exists"}])
        brief = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        here = {"key": key, "operator": "Exists", "effect": "NoSchedule"}
        _apply(daemon, namespace, "brief", tolerations=[here, brief])
        assert wait_for_event(daemon, namespace, "kept-out", "FailedScheduling") == TAINT
        _wait(daemon, namespace, "equal", "exists", "brief")
        daemon.kubectl("taint", "node", node, f"{key}=gpu:NoExecute")
        _wait(daemon, namespace, "before", "equal", "brief", condition="delete")
        text = f"Marking for deletion Pod {namespace}/before"
        assert wait_for_event(daemon, namespace, "before", "TaintManagerEviction") == text
        assert daemon.pod("exists", namespace)["status"]["phase"] == "Running"
    finally:
        daemon.kubectl("taint", "node", node, f"{key}-")
    _wait(daemon, namespace, "kept-out")
    daemon.kubectl("cordon", node)
    try:
        _apply(daemon, namespace, "late")
        message = wait_for_event(daemon, namespace, "late", "FailedScheduling")
        assert message == f"0/1 nodes are available: 1 node(s) were unschedulable. {UNHELPFUL}"
    finally:
        daemon.kubectl("uncordon", node)
    wait_until(lambda: _scheduled(daemon, namespace, "late").get("status") == "True", what="its node")


@covers("PodSpec.nodeName", "PodSpec.os", "PodOS.name")
def test_a_pod_that_is_bound_by_hand_must_fit_all_the_same(daemon: Daemon, namespace: str) -> None:
    """No scheduler looks at it, so the kubelet does."""
    (node,) = [item["metadata"]["name"] for item in daemon.get("/api/v1/nodes")["items"]]
    _apply(daemon, namespace, "chosen", nodeName=node, nodeSelector={"disk": "none"})
    _apply(daemon, namespace, "foreign", os={"name": "windows"})
    requests = {"containers": [
        {"name": "c", "image": "debian", "command": ["sleep", "inf"], "resources": {"requests": {"cpu": "4k"}}}
    ]}  # fmt: skip
    _apply(daemon, namespace, "large", schedulerName="my-scheduler", **requests)
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "large"}, "target": target}
    path = f"/api/v1/namespaces/{namespace}/pods/large/binding"
    daemon.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))

    affinity = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    assert wait_for_event(daemon, namespace, "chosen", "NodeAffinity") == affinity
    system = "Failed to admit pod as the OS field doesn't match node OS"
    assert wait_for_event(daemon, namespace, "foreign", "PodOSNotSupported") == system
    _wait(daemon, namespace, "chosen", "foreign", "large", condition="jsonpath={.status.phase}=Failed")
    status = daemon.pod("chosen", namespace)["status"]
    assert (status["reason"], status["message"]) == ("NodeAffinity", f"Pod was rejected: {affinity}")
    assert {"conditions", "containerStatuses", "podIP"}.isdisjoint(status)
    told = wait_for_event(daemon, namespace, "large", "OutOfcpu")
    assert told.startswith("Node didn't have enough resource: cpu, requested: 4000000, used: ")
    listed = daemon.kubectl("get", "pods", "-n", namespace, "--no-headers").stdout
    assert [line.split()[:4] for line in listed.splitlines()] == [
        ["chosen", "0/1", "NodeAffinity", "0"],
        ["foreign", "0/1", "PodOSNotSupported", "0"],
        ["large", "0/1", "OutOfcpu", "0"],
    ]
    daemon.kubectl("delete", "pods", "-n", namespace, "--all", "--timeout=20s")
