"""Whether a pod fits, in the scheduler's words."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from harness.covers import covers
from podhost.api.node_fit import compute_toleration_s
from podhost.api.node_load import NodeLoad
from podhost.api.pod_requests import sum_requests
from podhost.controllers.scheduling import Misfit, compute_misfits, format_unschedulable


def node(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "node", "labels": {"disk": "ssd", "cores": "4"}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
    }


def container(cpu: str = "", memory: str = "", **fields: Any) -> dict[str, Any]:
    requests = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"name": "c", "resources": {"requests": requests}, **fields}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers) or [container()], **spec}}


def term(key: str, operator: str, *values: str) -> dict[str, Any]:
    expression = {"key": key, "operator": operator, "values": list(values)}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def load(others: list[dict[str, Any]]) -> NodeLoad:
    made = NodeLoad()
    for number, other in enumerate(others):
        made.put(("default", str(number)), other)
    return made


def texts(candidate: dict[str, Any], on: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    return [misfit.text for misfit in compute_misfits(candidate, on, load(others))]


PORT = {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}
AFFINITY = "node(s) didn't match Pod's node affinity/selector"


@pytest.mark.parametrize(
    ("candidate", "others", "expected"),
    [
        (pod(), [], []),
        (pod(container("2", "1Gi")), [], []),
        (pod(container("3")), [], ["Insufficient cpu"]),
        (pod(container("3", "2Gi")), [], ["Insufficient cpu", "Insufficient memory"]),
        (pod(container("1500m")), [pod(container("600m"))], ["Insufficient cpu"]),
        (pod(), [pod(), pod(), pod()], ["Too many pods"]),
        (pod(nodeSelector={"disk": "ssd"}), [], []),
        (pod(nodeSelector={"disk": "hdd"}), [], [AFFINITY]),
        (pod(affinity=term("disk", "In", "ssd", "hdd")), [], []),
        (pod(affinity=term("disk", "NotIn", "ssd")), [], [AFFINITY]),
        (pod(affinity=term("absent", "DoesNotExist")), [], []),
        (pod(affinity=term("cores", "Gt", "3")), [], []),
        (pod(affinity=term("cores", "Lt", "3")), [], [AFFINITY]),
        (pod(affinity=term("disk", "Gt", "3")), [], [AFFINITY]),
        (
            pod(container(ports=[PORT])),
            [pod(container(ports=[PORT]))],
            ["node(s) didn't have free ports for the requested pod ports"],
        ),
        (pod(container(ports=[PORT])), [pod(container(ports=[{**PORT, "protocol": "UDP"}]))], []),
        (
            pod(container(ports=[{**PORT, "hostIP": "127.0.0.1"}])),
            [pod(container(ports=[{**PORT, "hostIP": "192.0.2.1"}]))],
            [],
        ),
    ],
)
@covers("ContainerPort.protocol")
def test_fit(candidate: dict[str, Any], others: list[dict[str, Any]], expected: list[str]) -> None:
    assert texts(candidate, node(), others) == expected


def test_cordoned_node_takes_only_pods_that_tolerate_it() -> None:
    assert texts(pod(), node(unschedulable=True), []) == ["node(s) were unschedulable"]
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert texts(pod(tolerations=[toleration]), node(unschedulable=True), []) == []


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "value": "yes", "effect": "NoExecute"}, False),
    ],
)
def test_taints_need_a_toleration(toleration: dict[str, str], fits: bool) -> None:
    tainted = node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    expected = [] if fits else ["node(s) had untolerated taint(s)"]
    assert texts(pod(tolerations=[toleration]), tainted, []) == expected


def test_message_is_the_schedulers() -> None:
    misfits = [Misfit("Insufficient memory"), Misfit("Insufficient cpu")]
    head = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: "
    assert format_unschedulable(pod(), misfits) == (
        head + "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert format_unschedulable(pod(), [Misfit("Insufficient memory"), Misfit("Insufficient cpu", final=True)]) == (
        head + "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    never = pod(preemptionPolicy="Never")
    assert format_unschedulable(never, misfits) == head + "not eligible due to preemptionPolicy=Never."


def test_no_pod_has_to_go_for_what_never_fits() -> None:
    assert [m.final for m in compute_misfits(pod(container("3")), node(), NodeLoad())] == [True]
    assert [m.final for m in compute_misfits(pod(container("1500m")), node(), load([pod(container("600m"))]))] == [
        False
    ]


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0.0),
        ([{"key": "gone", "operator": "Exists"}], None),
        ([{"key": "gone", "operator": "Exists", "tolerationSeconds": 60}], 60.0),
        (
            [{"operator": "Exists", "tolerationSeconds": 60}, {"key": "gone", "value": "now", "tolerationSeconds": 5}],
            5.0,
        ),
        ([{"key": "gone", "operator": "Exists", "tolerationSeconds": -1}], 0.0),
        ([{"key": "gone", "operator": "Exists", "effect": "NoSchedule"}], 0.0),
        ([{"key": "gone", "operator": "Exists"}, {"key": "other", "operator": "Exists", "tolerationSeconds": 5}], None),
    ],
)
def test_time_that_a_pod_may_stay_on_a_tainted_node(tolerations: list[dict[str, Any]], seconds: float | None) -> None:
    taints = [{"key": "gone", "value": "now", "effect": "NoExecute"}, {"key": "x", "effect": "NoSchedule"}]
    assert compute_toleration_s({"tolerations": tolerations}, {"taints": taints}) == seconds
    assert compute_toleration_s({"tolerations": tolerations}, {}) is None


def test_requests_are_the_larger_of_init_phase_and_running_phase() -> None:
    init = [container("1"), container("200m", restartPolicy="Always"), container("500m")]
    assert sum_requests(pod(container("300m"), initContainers=init)["spec"])["cpu"] == 1
    assert sum_requests(pod(container("900m"), initContainers=init)["spec"])["cpu"] == Fraction(11, 10)


def test_requests_of_the_pod_itself_win_and_overhead_comes_on_top() -> None:
    candidate = pod(container("300m"), resources={"requests": {"cpu": "1"}}, overhead={"cpu": "100m"})
    assert sum_requests(candidate["spec"])["cpu"] == Fraction(11, 10)


def test_load_of_a_node_is_what_its_pods_take_whatever_came_and_went() -> None:
    sizes = ["100m", "250m", "1"]
    pods = [pod(container(cpu, "10Mi", ports=[{**PORT, "hostPort": 80 + at}])) for at, cpu in enumerate(sizes)]
    made = load(pods)
    made.put(("default", "0"), pods[2])  # resized
    made.drop(("default", "1"))
    made.drop(("default", "1"))
    assert (made.pods, made.used) == (2, {"cpu": Fraction(2), "memory": Fraction(20 << 20)})
    assert made.ports == {("0.0.0.0", "TCP", 82): 2}
    made.drop(("default", "0"))
    assert made.ports == {("0.0.0.0", "TCP", 82): 1}
    made.drop(("default", "2"))
    assert made == NodeLoad()


def test_pod_that_requests_nothing_of_a_resource_goes_when_others_have_gone() -> None:
    made = load([pod(container("0"))])
    made.put("other", pod(container("1")))
    made.drop("other")
    made.drop(("default", "0"))
    assert made == NodeLoad()
