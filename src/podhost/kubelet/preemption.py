"""Which pods have to go so that a critical one can run.  Pure.

After kubernetes 1.37 pkg/kubelet/preemption/preemption.go: a pod of the machine itself (static, or of a critical
priority) does not fail for want of resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from podhost.api.qos import QOS_CLASSES, QosClass
from podhost.kubelet.admission_rules import Rejection, count_of

PREEMPTING = "Preempting"
PREEMPTED_MESSAGE = "Preempted in order to admit critical pod"
DISRUPTION_MESSAGE = "Pod was preempted by Kubelet to accommodate a critical pod."


@dataclass(frozen=True, slots=True)
class PodWeight:
    """A pod of the node, by what decides whether it has to go for another."""

    uid: str
    is_critical: bool
    priority: int
    qos: QosClass
    requests: Mapping[str, Fraction]

    def of(self, resource: str) -> Fraction:
        return Fraction(1) if resource == "pods" else self.requests.get(resource, Fraction(0))


def settle_for_critical(
    pod: PodWeight, rejections: Sequence[Rejection], others: Iterable[PodWeight]
) -> tuple[list[Rejection], list[str]]:
    """What is left of the rejections of a critical pod, and which pods (uids) have to go for it."""
    lasting = [each for each in rejections if each.shortage is None]
    if lasting:
        return lasting, []
    needs = {s.resource: s.requested + s.used - s.capacity for each in rejections if (s := each.shortage)}
    try:
        return [], [victim.uid for victim in choose_victims(pod, others, needs)]
    except ValueError as error:
        text = (
            "Unexpected error while attempting to recover from admission failure: preemption: "
            f"error finding a set of pods to preempt: {error}"
        )
        return [Rejection("UnexpectedAdmissionError", text)], []


def choose_victims(pod: PodWeight, others: Iterable[PodWeight], needs: Mapping[str, Fraction]) -> list[PodWeight]:
    """The pods that free what is needed: the least of the important ones, then few, then small.

    Raises:
        ValueError: All that may go would not be enough.
    """
    groups = _group_by_weight(pod, others)
    left = [dict(needs)]
    for group in groups:
        left.append(_subtract(left[-1], group))
    if left[-1]:
        raise ValueError(f"no set of running pods found to reclaim resources: {_format_needs(left[-1])}")
    victims: list[PodWeight] = []
    for group, needed in reversed(list(zip(groups, left, strict=False))):
        victims += _choose_in_group(group, _subtract(needed, victims))
    return victims


def _group_by_weight(pod: PodWeight, others: Iterable[PodWeight]) -> list[list[PodWeight]]:
    """Those that may go for the pod, alike ones together, those to go first in front."""

    def weight(each: PodWeight) -> tuple[bool, int, int]:
        return each.is_critical, each.priority, -QOS_CLASSES.index(each.qos)

    may_go = [each for each in others if _is_above(pod, each)]
    return [list(group) for _, group in groupby(sorted(may_go, key=weight), key=weight)]


def _is_above(one: PodWeight, other: PodWeight) -> bool:
    return (one.is_critical and not other.is_critical) or one.priority > other.priority


def _choose_in_group(group: Iterable[PodWeight], needs: dict[str, Fraction]) -> list[PodWeight]:
    """One after the other, the nearest to what is still needed; of two that are equally near the smaller."""
    candidates, chosen = list(group), []
    while needs:
        best = min(candidates, key=lambda each: (_distance(each, needs), each.of("memory"), each.of("cpu")))
        candidates.remove(best)
        chosen.append(best)
        needs = _subtract(needs, [best])
    return chosen


def _distance(pod: PodWeight, needs: Mapping[str, Fraction]) -> Fraction:
    missing = ((max(Fraction(0), amount - pod.of(name)) / amount) for name, amount in needs.items())
    return sum((part * part for part in missing), Fraction(0))


def _subtract(needs: Mapping[str, Fraction], pods: Iterable[PodWeight]) -> dict[str, Fraction]:
    pods = tuple(pods)
    left = {name: amount - sum(each.of(name) for each in pods) for name, amount in needs.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _format_needs(needs: Mapping[str, Fraction]) -> str:
    return "[" + "".join(f"(res: {name}, q: {count_of(name, amount)}), " for name, amount in needs.items()) + "]"
