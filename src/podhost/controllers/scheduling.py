"""Whether a pod fits the one node, and why not, in the scheduler's words.  Pure.

The checks and their order are those of Kubernetes' default plugins (NodeUnschedulable, TaintToleration,
NodeAffinity, NodePorts, NodeResourcesFit); the first that fails names the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api.pod_requests import sum_requests
from podhost.api.quantity import parse_quantity
from podhost.controllers.node_load import HostPort, NodeLoad, host_ports

Doc = Mapping[str, Any]

_UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
_FREE_PORTS = "node(s) didn't have free ports for the requested pod ports"
_AFFINITY = "node(s) didn't match Pod's node affinity/selector"


@dataclass(frozen=True, slots=True)
class Misfit:
    """One reason why a pod cannot be on the node."""

    text: str
    final: bool = False
    """Nothing changes for it when other pods go away (the scheduler's UnschedulableAndUnresolvable)."""


def compute_misfits(pod: Doc, node: Doc, load: NodeLoad) -> list[Misfit]:
    """Reasons why the pod cannot be on the node beside the pods that are there; empty when it can."""
    spec, node_spec = pod.get("spec") or {}, node.get("spec") or {}
    if node_spec.get("unschedulable") and not _tolerates(spec, {"key": _UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}):
        return [Misfit("node(s) were unschedulable", final=True)]
    if find_untolerated_taint(spec, node_spec, ("NoSchedule", "NoExecute")):
        return [Misfit("node(s) had untolerated taint(s)", final=True)]
    if not _matches_node(spec, node):
        return [Misfit(_AFFINITY, final=True)]
    if _host_ports_taken(spec, load.ports):
        return [Misfit(_FREE_PORTS)]
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


def is_terminal(pod: Doc) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _missing_resources(pod: Doc, node: Doc, load: NodeLoad) -> list[Misfit]:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    misfits = []
    if "pods" in allocatable and load.pods + 1 > parse_quantity(allocatable["pods"]):
        misfits.append(Misfit("Too many pods"))
    for name, amount in sum_requests(pod.get("spec") or {}).items():
        if not amount:
            continue
        if name in ("cpu", "memory", "ephemeral-storage") and name not in allocatable:
            continue
        room = parse_quantity(allocatable.get(name, "0"))
        if amount + load.used.get(name, 0) > room:
            misfits.append(Misfit(f"Insufficient {name}", final=amount > room))
    return misfits


def _host_ports_taken(spec: Doc, taken: Iterable[HostPort]) -> bool:
    wanted = tuple(host_ports(spec))
    return bool(wanted) and any(
        one[1:] == other[1:] and ("0.0.0.0" in (one[0], other[0]) or one[0] == other[0])
        for one in wanted
        for other in taken
    )


def find_untolerated_taint(spec: Doc, node_spec: Doc, effects: tuple[str, ...]) -> Doc | None:
    """The first taint with one of the effects that the pod does not tolerate."""
    for taint in node_spec.get("taints") or []:
        if taint.get("effect") in effects and not _tolerates(spec, taint):
            found: Doc = taint
            return found
    return None


def compute_toleration_s(spec: Doc, node_spec: Doc) -> float | None:
    """How long a pod may stay on a node with taints of effect NoExecute: 0 at once, ``None`` for ever."""
    taints = [taint for taint in node_spec.get("taints") or [] if taint.get("effect") == "NoExecute"]
    if any(not _tolerates(spec, taint) for taint in taints):
        return 0.0
    used = [t for t in spec.get("tolerations") or [] if any(_is_tolerated(t, taint) for taint in taints)]
    seconds = [t["tolerationSeconds"] for t in used if t.get("tolerationSeconds") is not None]
    return max(0.0, float(min(seconds))) if seconds else None


def _tolerates(spec: Doc, taint: Doc) -> bool:
    return any(_is_tolerated(toleration, taint) for toleration in spec.get("tolerations") or [])


def _is_tolerated(toleration: Doc, taint: Doc) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _matches_node(spec: Doc, node: Doc) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is None:
        return True
    return any(_matches_term(term, node) for term in affinity.get("nodeSelectorTerms") or [])


def _matches_term(term: Doc, node: Doc) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        # The API says: an empty term matches nothing.
        return False
    labels = node["metadata"].get("labels") or {}
    names = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(e, labels) for e in expressions) and all(_holds(e, names) for e in fields)


def _holds(expression: Doc, values: Mapping[str, str]) -> bool:
    operator, wanted = expression.get("operator"), expression.get("values") or []
    value = values.get(expression["key"])
    if operator in ("NotIn", "DoesNotExist"):
        return value is None or (operator == "NotIn" and value not in wanted)
    if value is None:
        return False
    if operator == "In":
        return value in wanted
    return operator == "Exists" or _compares(operator, value, wanted)


def _compares(operator: str | None, value: str, wanted: list[str]) -> bool:
    try:
        number, bound = int(value), int(wanted[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else operator == "Lt" and number < bound
