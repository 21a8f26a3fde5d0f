"""What a RuntimeClass adds to a pod, and which pods it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.api import kinds
from podhost.api.errors import ApiError
from podhost.apiserver.runtime_class_admission import admit_runtime_class

HEAVY = {
    "handler": "runc",
    "overhead": {"podFixed": {"cpu": "100m", "memory": "64Mi"}},
    "scheduling": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "vm", "operator": "Exists"}, {"key": "old", "operator": "Exists"}],
    },
}
CLASSES: dict[str, dict[str, Any]] = {"heavy": HEAVY, "plain": {"handler": "crun"}}


def admit(**spec: Any) -> dict[str, Any]:
    candidate = {"metadata": {"name": "p"}, "spec": spec}
    admit_runtime_class(candidate, CLASSES.get)
    return spec


def test_overhead_and_scheduling_come_from_the_class() -> None:
    old = {"key": "old", "operator": "Exists"}
    spec = admit(runtimeClassName="heavy", nodeSelector={"zone": "a"}, tolerations=[old])
    assert spec["overhead"] == {"cpu": "100m", "memory": "64Mi"}
    assert spec["nodeSelector"] == {"zone": "a", "disk": "ssd"}
    assert spec["tolerations"] == [old, {"key": "vm", "operator": "Exists"}]
    assert admit(runtimeClassName="plain") == {"runtimeClassName": "plain"}
    assert admit() == {}


def test_the_same_overhead_in_other_words_is_no_contradiction() -> None:
    assert admit(runtimeClassName="heavy", overhead={"cpu": "0.1", "memory": "64Mi"})["overhead"]["cpu"] == "100m"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"runtimeClassName": "gvisor"}, 'pod rejected: RuntimeClass "gvisor" not found'),
        (
            {"runtimeClassName": "heavy", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "heavy", "nodeSelector": {"disk": "hdd"}},
            "conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd; pod.spec.nodeSelector[disk] = hdd",
        ),
    ],
)
def test_contradictions_are_refused(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError) as caught:
        admit(**spec)
    assert (caught.value.code, caught.value.status["message"]) == (403, f'pods "p" is forbidden: {says}')


def test_classes_are_checked_and_their_handler_stays() -> None:
    def messages(**changes: Any) -> list[str]:
        return [e.message for e in kinds.RUNTIME_CLASS.validate_create({"handler": "runc", **changes})]

    assert messages() == []
    assert messages(handler="Kata_FC")[0].startswith('handler: Invalid value: "Kata_FC": a lowercase RFC 1123 label')
    (overhead,) = messages(overhead={"podFixed": {"cpu": "-1"}})
    assert overhead == 'overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'
    (toleration,) = messages(scheduling={"tolerations": [{"operator": "Exists", "effect": "No"}]})
    assert toleration.startswith("scheduling.tolerations[0].effect: Unsupported value")
    (changed,) = kinds.RUNTIME_CLASS.validate_update({"handler": "crun"}, {"handler": "runc"})
    assert changed.message == 'handler: Invalid value: "crun": field is immutable'
