"""Which pods a kubelet turns away when they come, and in which words.  Pure.

After kubernetes 1.37 pkg/kubelet/lifecycle/predicate.go: what a scheduler looks at is looked at once more, for pods
that no scheduler has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from podhost.api.node_fit import (
    AFFINITY_MISMATCH,
    PORTS_TAKEN,
    Shortage,
    are_host_ports_taken,
    find_shortages,
    find_untolerated_taint,
    matches_node,
)
from podhost.api.node_load import NodeLoad
from podhost.api.objects import is_static_pod

Doc = Mapping[str, Any]

_OS_LABEL, _OS = "kubernetes.io/os", "linux"
_UNTOLERATED = "node(s) had taints that the pod didn't tolerate"


@dataclass(frozen=True, slots=True)
class Rejection:
    """``reason`` becomes the pod's, and that of its event."""

    reason: str
    message: str
    shortage: Shortage | None = None
    """What others could make good by going."""


def find_rejections(pod: Doc, node: Doc | None, load: NodeLoad) -> list[Rejection]:
    """Why the node does not take the pod, most telling first; empty when it does.

    Args:
        load: Of the pods that are there.
    """
    if node is None:
        return [Rejection("InvalidNodeInfo", "Kubelet cannot get node info.")]
    spec, node_spec = pod.get("spec") or {}, node.get("spec") or {}
    if (pod["metadata"].get("labels") or {}).get(_OS_LABEL, _OS) != _OS:
        text = f"Failed to admit pod as the `{_OS_LABEL}` label doesn't match node label"
        return [Rejection("PodOSSelectorNodeLabelDoesNotMatch", text)]
    if (spec.get("os") or {}).get("name", _OS) != _OS:
        return [Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")]
    found = [_of_shortage(each) for each in find_shortages(spec, node, load, known_only=True)]
    if not matches_node(spec, node):
        found.append(_of_predicate("NodeAffinity", AFFINITY_MISMATCH))
    if are_host_ports_taken(spec, load):
        found.append(_of_predicate("NodePorts", PORTS_TAKEN))
    # Taints do not concern static pods.
    if not is_static_pod(pod) and find_untolerated_taint(spec, node_spec, ("NoExecute",)):
        found.append(_of_predicate("TaintToleration", _UNTOLERATED))
    return found


def _of_predicate(name: str, text: str) -> Rejection:
    return Rejection(name, f"Predicate {name} failed: {text}")


def _of_shortage(shortage: Shortage) -> Rejection:
    name = shortage.resource
    requested, used, capacity = (count_of(name, n) for n in (shortage.requested, shortage.used, shortage.capacity))
    text = f"Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
    return Rejection(f"OutOf{name}", text, shortage)


def count_of(resource: str, amount: Fraction) -> int:
    """As the kubelet counts: CPU in thousandths."""
    return -(-amount * (1000 if resource == "cpu" else 1) // 1)
