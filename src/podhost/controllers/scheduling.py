"""Whether a pod fits the one node, and why not, in the scheduler's words.  Pure.

The checks and their order are those of Kubernetes' default plugins (NodeUnschedulable, TaintToleration,
NodeAffinity, NodePorts, NodeResourcesFit); the first that fails names the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api.node_fit import (
    AFFINITY_MISMATCH,
    PORTS_TAKEN,
    Shortage,
    are_host_ports_taken,
    find_shortages,
    find_untolerated_taint,
    matches_node,
    tolerates,
)
from podhost.api.node_load import NodeLoad

Doc = Mapping[str, Any]

_UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"


@dataclass(frozen=True, slots=True)
class Misfit:
    """One reason why a pod cannot be on the node."""

    text: str
    final: bool = False
    """Nothing changes for it when other pods go away (the scheduler's UnschedulableAndUnresolvable)."""


def compute_misfits(pod: Doc, node: Doc, load: NodeLoad) -> list[Misfit]:
    """Reasons why the pod cannot be on the node beside the pods that are there; empty when it can."""
    spec, node_spec = pod.get("spec") or {}, node.get("spec") or {}
    if node_spec.get("unschedulable") and not tolerates(spec, {"key": _UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}):
        return [Misfit("node(s) were unschedulable", final=True)]
    if find_untolerated_taint(spec, node_spec, ("NoSchedule", "NoExecute")):
        return [Misfit("node(s) had untolerated taint(s)", final=True)]
    if not matches_node(spec, node):
        return [Misfit(AFFINITY_MISMATCH, final=True)]
    if are_host_ports_taken(spec, load):
        return [Misfit(PORTS_TAKEN)]
    return _missing_resources(pod, node, load)


def format_unschedulable(pod: Doc, misfits: Iterable[Misfit]) -> str:
    """Message of condition and event.  Nothing is preempted here, and that is what a scheduler says then."""
    misfits = list(misfits)
    reasons = ", ".join(f"1 {text}" for text in sorted(misfit.text for misfit in misfits))
    text = f"0/1 nodes are available: {reasons}. preemption: "
    if (pod.get("spec") or {}).get("preemptionPolicy") == "Never":
        return text + "not eligible due to preemptionPolicy=Never."
    helpless = any(misfit.final for misfit in misfits)
    why = "Preemption is not helpful for scheduling" if helpless else "No preemption victims found for incoming pod"
    return f"{text}0/1 nodes are available: 1 {why}."


def _missing_resources(pod: Doc, node: Doc, load: NodeLoad) -> list[Misfit]:
    return [_build_misfit(each) for each in find_shortages(pod.get("spec") or {}, node, load)]


def _build_misfit(shortage: Shortage) -> Misfit:
    if shortage.resource == "pods":
        return Misfit("Too many pods")
    return Misfit(f"Insufficient {shortage.resource}", final=shortage.never_fits)
