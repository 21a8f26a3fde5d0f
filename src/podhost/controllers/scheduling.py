"""Whether a pod fits the one node, and why not, in the scheduler's words.  Pure.

The checks and their order are those of Kubernetes' default plugins (NodeUnschedulable, TaintToleration,
NodeAffinity, NodePorts, NodeResourcesFit); the first that fails names the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from podhost.api.pod_requests import sum_requests
from podhost.api.quantity import parse_quantity

Doc = Mapping[str, Any]

_UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
_FREE_PORTS = "node(s) didn't have free ports for the requested pod ports"
_AFFINITY = "node(s) didn't match Pod's node affinity/selector"


def compute_misfits(pod: Doc, node: Doc, others: Iterable[Doc]) -> list[str]:
    """Reasons why the pod cannot be on the node beside ``others``, the pods that are there; empty when it can."""
    others = [other for other in others if not is_terminal(other)]
    spec, node_spec = pod.get("spec") or {}, node.get("spec") or {}
    if node_spec.get("unschedulable") and not _tolerates(spec, {"key": _UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}):
        return ["node(s) were unschedulable"]
    if taint := _untolerated_taint(spec, node_spec):
        # Kubernetes prints Go's map syntax here.
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"]
    if not _matches_node(spec, node):
        return [_AFFINITY]
    if _host_ports_taken(spec, others):
        return [_FREE_PORTS]
    return _missing_resources(pod, node, others)


def format_unschedulable(misfits: Iterable[str]) -> str:
    """Message of condition and event."""
    reasons = ", ".join(f"1 {misfit}" for misfit in sorted(misfits))
    return f"0/1 nodes are available: {reasons}."


def is_terminal(pod: Doc) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def compute_requests(pod: Doc) -> dict[str, Fraction]:
    """Effective requests of a Pod object."""
    return sum_requests(pod.get("spec") or {})


def _missing_resources(pod: Doc, node: Doc, others: list[Doc]) -> list[str]:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    misfits = []
    if "pods" in allocatable and len(others) + 1 > parse_quantity(allocatable["pods"]):
        misfits.append("Too many pods")
    wanted = {name: amount for name, amount in compute_requests(pod).items() if amount}
    if not wanted:
        return misfits
    used: dict[str, Fraction] = {}
    for other in others:
        _add(used, compute_requests(other))
    for name, amount in wanted.items():
        if name in ("cpu", "memory", "ephemeral-storage") and name not in allocatable:
            continue
        if amount + used.get(name, 0) > parse_quantity(allocatable.get(name, "0")):
            misfits.append(f"Insufficient {name}")
    return misfits


def _add(total: dict[str, Fraction], more: Mapping[str, Fraction]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Fraction(0)) + amount


def host_ports(pod_spec: Doc) -> set[tuple[str, str, int]]:
    """(host address, protocol, port) of all containers that stay."""
    init = [c for c in pod_spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    return {
        (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"])
        for container in [*(pod_spec.get("containers") or []), *init]
        for port in container.get("ports") or []
        if port.get("hostPort")
    }


def _host_ports_taken(spec: Doc, others: list[Doc]) -> bool:
    wanted = host_ports(spec)
    if not wanted:
        return False
    taken = [port for other in others for port in host_ports(other.get("spec") or {})]
    return any(
        one[1:] == other[1:] and ("0.0.0.0" in (one[0], other[0]) or one[0] == other[0])
        for one in wanted
        for other in taken
    )


def _untolerated_taint(spec: Doc, node_spec: Doc) -> Doc | None:
    for taint in node_spec.get("taints") or []:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not _tolerates(spec, taint):
            found: Doc = taint
            return found
    return None


def _tolerates(spec: Doc, taint: Doc) -> bool:
    for toleration in spec.get("tolerations") or []:
        if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
            continue
        if toleration.get("key") and toleration["key"] != taint["key"]:
            continue
        if toleration.get("operator") == "Exists":
            return True
        if toleration.get("key") and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


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
