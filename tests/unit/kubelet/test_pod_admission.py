"""Pods that come to a kubelet without a scheduler, on fakes, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.kubelet_rig import Rig, make_pod

pytestmark = pytest.mark.looptime

CRITICAL = 2_000_000_000


def wanting(cpu: str, name: str = "main") -> dict[str, Any]:
    return {"name": name, "resources": {"requests": {"cpu": cpu}}}


async def test_pod_that_does_not_fit_is_turned_away_and_nothing_of_it_runs(rig: Rig) -> None:
    pod = make_pod("web", wanting("64"))
    foreign = {"type": "example.com/x", "status": "True"}
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}, foreign]
    rig.create(pod)
    await asyncio.sleep(5)
    text = "Node didn't have enough resource: cpu, requested: 64000, used: 0, capacity: 2000"
    assert rig.events() == [("OutOfcpu", text)]
    assert rig.runtime.calls == []
    status = dict(rig.status())
    assert status.pop("startTime")
    assert status == {
        "phase": "Failed",
        "reason": "OutOfcpu",
        "message": f"Pod was rejected: {text}",
        "qosClass": "BestEffort",
        "observedGeneration": 1,
        "conditions": [foreign],
    }
    # It stays so, also for the next daemon.
    versions = len(rig.versions)
    await rig.restart()
    await asyncio.sleep(400)
    assert (len(rig.versions), len(rig.events())) == (versions, 1)
    rig.delete("web")
    await asyncio.sleep(1)
    assert rig.pod() is None


async def test_what_was_turned_away_or_has_gone_takes_no_room(rig: Rig) -> None:
    rig.runtime.scripts["done/main"] = [Script(run_s=1)]
    rig.create(make_pod("big", wanting("3")))
    rig.create(make_pod("done", wanting("2"), restartPolicy="Never"))
    await asyncio.sleep(3)
    assert rig.status("done")["phase"] == "Succeeded"
    rig.create(make_pod("first", wanting("2")))
    await asyncio.sleep(1)
    rig.create(make_pod("second", wanting("1m")))
    await asyncio.sleep(1)
    assert (rig.status("first")["phase"], rig.status("second")["reason"]) == ("Running", "OutOfcpu")
    rig.store.delete(rig.key("first"))  # As a forced deletion does.
    rig.create(make_pod("third", wanting("2")))
    await asyncio.sleep(3)
    assert rig.status("third")["phase"] == "Running"


async def test_resized_pod_takes_the_room_that_it_wants_now(rig: Rig) -> None:
    rig.create(make_pod("web", wanting("1")))
    await asyncio.sleep(1)

    def grow(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1500m"
        return pod

    rig.store.mutate(rig.key("web"), grow)
    rig.create(make_pod("more", wanting("1")))
    await asyncio.sleep(1)
    text = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    assert ("OutOfcpu", text) in rig.events()
    rig.delete("web", 1)
    await asyncio.sleep(3)
    rig.create(make_pod("late", wanting("2")))
    await asyncio.sleep(1)
    assert rig.status("late")["phase"] == "Running"


async def test_what_was_taken_is_not_judged_again(rig: Rig) -> None:
    rig.create(make_pod("web", wanting("2")))
    await asyncio.sleep(1)
    rig.settings = replace(rig.settings, cpu_millis=1000)
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    rig.create(make_pod("more", wanting("1")))
    await asyncio.sleep(1)
    assert rig.status("more")["reason"] == "OutOfcpu"


async def test_others_have_to_go_for_a_critical_pod_and_it_waits_for_them(rig: Rig) -> None:
    rig.runtime.scripts["small/main"] = [Script(ignores_term=True)]
    rig.create(make_pod("small", wanting("1"), terminationGracePeriodSeconds=7))
    rig.create(make_pod("free"))
    await asyncio.sleep(1)
    rig.create(make_pod("system", wanting("2"), priority=CRITICAL))
    await asyncio.sleep(6)
    assert "start_container main/0" in rig.runtime.calls
    assert rig.status("system")["phase"] == "Pending"
    assert len(rig.runtime.sandboxes) == 2
    assert ("Preempting", "Preempted in order to admit critical pod") in rig.events()
    await asyncio.sleep(4)
    assert [rig.status(name)["phase"] for name in ("small", "free", "system")] == ["Failed", "Running", "Running"]
    status = rig.status("small")
    assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    condition = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
    assert condition["message"] == "Pod was preempted by Kubelet to accommodate a critical pod."


async def test_critical_pod_that_nobody_can_make_room_for_is_turned_away(rig: Rig) -> None:
    rig.create(make_pod("small", wanting("1")))
    await asyncio.sleep(1)
    rig.create(make_pod("system", wanting("64"), priority=CRITICAL))
    await asyncio.sleep(1)
    assert (rig.status("small")["phase"], rig.status("system")["phase"]) == ("Running", "Failed")
    assert rig.status("system")["reason"] == "UnexpectedAdmissionError"
