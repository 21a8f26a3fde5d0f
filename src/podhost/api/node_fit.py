"""Whether a pod fits a node, as scheduler and kubelet both ask.  Pure; each of them says it in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from podhost.api.node_load import NodeLoad, do_host_ports_clash, host_ports
from podhost.api.pod_requests import sum_requests
from podhost.api.quantity import parse_quantity

Doc = Mapping[str, Any]

PORTS_TAKEN = "node(s) didn't have free ports for the requested pod ports"
AFFINITY_MISMATCH = "node(s) didn't match Pod's node affinity/selector"
_USUAL = ("cpu", "memory", "ephemeral-storage")
_ORDER = {name: at for at, name in enumerate(("pods", *_USUAL))}


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource of which the node has less left than the pod requests; CPU in cores, ``pods`` in pods."""

    resource: str
    requested: Fraction
    used: Fraction
    capacity: Fraction

    @property
    def never_fits(self) -> bool:
        """Not even alone on the node."""
        return self.requested > self.capacity


def find_shortages(spec: Doc, node: Doc, load: NodeLoad, *, known_only: bool = False) -> list[Shortage]:
    """What the node has too little of, beside the pods that are there.

    Args:
        known_only: Extended resources that the node has not at all are somebody else's affair, to a kubelet.
    """
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    found = []
    if "pods" in allocatable and load.pods + 1 > (room := parse_quantity(allocatable["pods"])):
        found.append(Shortage("pods", Fraction(1), Fraction(load.pods), room))
    for name, amount in sum_requests(spec).items():
        if not amount or (name not in allocatable and (name in _USUAL or (known_only and "/" in name))):
            continue
        room, used = parse_quantity(allocatable.get(name, "0")), load.used.get(name, Fraction(0))
        if amount + used > room:
            found.append(Shortage(name, amount, used, room))
    return sorted(found, key=lambda each: _ORDER.get(each.resource, len(_ORDER)))


def are_host_ports_taken(spec: Doc, load: NodeLoad) -> bool:
    """Whether a pod on the node has one of the host ports."""
    return any(do_host_ports_clash(one, other) for one in host_ports(spec) for other in load.ports)


def find_untolerated_taint(spec: Doc, node_spec: Doc, effects: tuple[str, ...]) -> Doc | None:
    """The first taint with one of the effects that the pod does not tolerate."""
    for taint in node_spec.get("taints") or []:
        if taint.get("effect") in effects and not tolerates(spec, taint):
            found: Doc = taint
            return found
    return None


def compute_toleration_s(spec: Doc, node_spec: Doc) -> float | None:
    """How long a pod may stay on a node with taints of effect NoExecute: 0 at once, ``None`` for ever."""
    taints = [taint for taint in node_spec.get("taints") or [] if taint.get("effect") == "NoExecute"]
    if any(not tolerates(spec, taint) for taint in taints):
        return 0.0
    used = [t for t in spec.get("tolerations") or [] if any(_is_tolerated(t, taint) for taint in taints)]
    seconds = [t["tolerationSeconds"] for t in used if t.get("tolerationSeconds") is not None]
    return max(0.0, float(min(seconds))) if seconds else None


def tolerates(spec: Doc, taint: Doc) -> bool:
    """Whether one of the pod's tolerations covers the taint."""
    return any(_is_tolerated(toleration, taint) for toleration in spec.get("tolerations") or [])


def _is_tolerated(toleration: Doc, taint: Doc) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def matches_node(spec: Doc, node: Doc) -> bool:
    """Node selector and required node affinity."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return affinity is None or matches_selector(affinity, node)


def matches_selector(selector: Doc, node: Doc) -> bool:
    """Whether one of the terms of a NodeSelector chooses the node."""
    return any(_matches_term(term, node) for term in selector.get("nodeSelectorTerms") or [])


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
