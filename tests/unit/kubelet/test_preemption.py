"""Which pods have to go for a critical one."""

from __future__ import annotations

from fractions import Fraction

import pytest

from podhost.api.node_fit import Shortage
from podhost.api.qos import QosClass
from podhost.kubelet.admission_rules import Rejection
from podhost.kubelet.preemption import PodWeight, choose_victims, settle_for_critical


def weigh(
    uid: str, cpu: int = 0, memory: int = 0, *, qos: QosClass = "Burstable", priority: int = 0, critical: bool = False
) -> PodWeight:
    requests = {"cpu": Fraction(cpu), "memory": Fraction(memory)}
    return PodWeight(uid, critical, priority, qos, {name: amount for name, amount in requests.items() if amount})


STATIC = weigh("static", critical=True)
TABLE: list[tuple[str, list[PodWeight], dict[str, int], list[str]]] = [
    ("the one that is enough", [weigh("a", 1), weigh("b", 2)], {"cpu": 2}, ["b"]),
    ("rather one than two", [weigh("a", 1), weigh("b", 1), weigh("c", 3)], {"cpu": 2}, ["c"]),
    ("of two that are enough the smaller", [weigh("a", 4, 9), weigh("b", 3, 8)], {"cpu": 2}, ["b"]),
    ("as many as it takes", [weigh("a", 1), weigh("b", 1)], {"cpu": 2}, ["a", "b"]),
    ("burstable before guaranteed", [weigh("g", 2, qos="Guaranteed"), weigh("b", 2)], {"cpu": 2}, ["b"]),
    ("the important only for what the others do not free", [weigh("g", 5, qos="Guaranteed"), weigh("b", 1)],
     {"cpu": 3}, ["g"]),
    ("of lower priority first", [weigh("high", 2, priority=7), weigh("low", 2)], {"cpu": 2}, ["low"]),
    ("never a critical one", [weigh("c", 9, critical=True), weigh("a", 2)], {"cpu": 2}, ["a"]),
    ("several resources", [weigh("a", 2), weigh("b", 0, 2), weigh("c", 2, 2)], {"cpu": 2, "memory": 2}, ["c"]),
    ("a place", [weigh("a", 1), weigh("b", qos="BestEffort")], {"pods": 1}, ["b"]),
]  # fmt: skip


@pytest.mark.parametrize(("others", "needs", "victims"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_victims(others: list[PodWeight], needs: dict[str, int], victims: list[str]) -> None:
    wanted = {name: Fraction(amount) for name, amount in needs.items()}
    assert [each.uid for each in choose_victims(STATIC, others, wanted)] == victims


def short(resource: str, requested: int, used: int, capacity: int) -> Rejection:
    return Rejection("x", "x", Shortage(resource, Fraction(requested), Fraction(used), Fraction(capacity)))


def test_nothing_is_preempted_for_what_others_cannot_make_good() -> None:
    lasting = Rejection("NodePorts", "taken")
    assert settle_for_critical(STATIC, [short("cpu", 2, 1, 2), lasting], [weigh("a", 1)]) == ([lasting], [])


def test_shortage_is_made_good_by_others() -> None:
    assert settle_for_critical(STATIC, [short("cpu", 2, 1, 2)], [weigh("a", 1)]) == ([], ["a"])


def test_when_all_would_not_be_enough_nobody_goes() -> None:
    (found,), victims = settle_for_critical(STATIC, [short("cpu", 64, 1, 2), short("memory", 3, 1, 3)], [weigh("a", 1)])
    assert victims == []
    assert (found.reason, found.message) == (
        "UnexpectedAdmissionError",
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods "
        "to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 62000), (res: memory, q: 1), ]",
    )
