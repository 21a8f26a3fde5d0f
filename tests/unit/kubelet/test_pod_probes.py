"""Probes of whole pods on a kubelet with fakes, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.handler_fakes import BAD, BROKEN, OK
from harness.kubelet_rig import Rig, make_pod
from podhost.aiokit import failpoint
from podhost.kubelet.probe_state import Outcome

pytestmark = pytest.mark.looptime


def probe(word: str, **fields: Any) -> dict[str, Any]:
    return {"exec": {"command": [word]}, "periodSeconds": 10, **fields}


def readiness(rig: Rig) -> tuple[str, str | None, str | None]:
    ready = next(c for c in rig.status()["conditions"] if c["type"] == "Ready")
    return ready["status"], ready.get("reason"), ready.get("message")


async def test_pod_is_ready_when_its_readiness_probe_says_so(rig: Rig) -> None:
    rig.handlers.answers["ready"] = [BAD, OK, BAD, BAD, BAD, OK]
    rig.create(make_pod("web", {"name": "main", "readinessProbe": probe("ready", initialDelaySeconds=5)}))
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(6)
    assert rig.status()["phase"] == "Running"
    assert (rig.container()["started"], rig.container()["ready"]) == (True, False)
    assert readiness(rig) == ("False", "ContainersNotReady", "containers with unready status: [main]")
    assert ("Unhealthy", "Readiness probe failed: no") in rig.events()
    await asyncio.sleep(10)
    assert rig.container()["ready"] is True
    assert readiness(rig)[0] == "True"
    await asyncio.sleep(20)
    assert readiness(rig)[0] == "True"  # two failures are not three
    await asyncio.sleep(10)
    assert readiness(rig)[0] == "False"
    await asyncio.sleep(10)
    assert readiness(rig)[0] == "True"
    assert rig.container()["restartCount"] == 0
    assert rig.handlers.times("ready", begun) == [5, 15, 25, 35, 45, 55]


async def test_container_that_fails_its_liveness_probe_is_killed_and_restarted(rig: Rig) -> None:
    rig.handlers.answers["live"] = [OK, BAD, BAD, BAD, OK]
    live = probe("live", terminationGracePeriodSeconds=7)
    rig.create(make_pod("web", {"name": "main", "livenessProbe": live}))
    await asyncio.sleep(31)
    assert ("Killing", "Container main failed liveness probe, will be restarted") in rig.events()
    assert rig.events().count(("Unhealthy", "Liveness probe failed: no")) == 3
    assert "stop_container main 7" in rig.runtime.calls
    assert rig.container()["restartCount"] == 1
    assert rig.container()["ready"] is True


async def test_nothing_else_is_probed_before_the_startup_probe_has_succeeded(rig: Rig) -> None:
    rig.handlers.answers["start"] = [BAD, BAD, OK]
    container = {
        "name": "main",
        "startupProbe": probe("start", periodSeconds=4),
        "livenessProbe": probe("live"),
        "readinessProbe": probe("ready"),
    }
    rig.create(make_pod("web", container))
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(7)
    assert (rig.container()["started"], rig.container()["ready"]) == (False, False)
    assert rig.container()["state"].get("running")
    await asyncio.sleep(25)
    assert rig.container()["started"] is True
    # Readiness is asked at once, liveness with its next beat, startup never again.
    assert rig.handlers.times("start", begun) == [0, 4, 8]
    assert rig.handlers.times("ready", begun) == [8, 18, 28]
    assert rig.handlers.times("live", begun) == [10, 20, 30]


async def test_container_that_fails_its_startup_probe_is_killed(rig: Rig) -> None:
    rig.handlers.answers["start"] = [BAD]
    rig.create(make_pod("web", {"name": "main", "startupProbe": probe("start", failureThreshold=2)}))
    await asyncio.sleep(11)
    assert ("Killing", "Container main failed startup probe, will be restarted") in rig.events()
    assert rig.container()["restartCount"] == 1
    assert readiness(rig)[0] == "False"


async def test_startup_probe_of_a_sidecar_gates_the_next_init_container(rig: Rig) -> None:
    rig.handlers.answers["start"] = [BAD, BAD, OK]
    rig.runtime.scripts["init"] = [Script(run_s=1)]
    sidecar = {"name": "side", "image": "nginx:1", "restartPolicy": "Always", "startupProbe": probe("start")}
    rig.create(make_pod(initContainers=[sidecar, {"name": "init", "image": "nginx:1"}]))
    await asyncio.sleep(19)
    assert "start_container init/0" not in rig.runtime.calls
    await asyncio.sleep(3)
    starts = [c for c in rig.runtime.calls if c.startswith("start_container")]
    assert starts == ["start_container side/0", "start_container init/0", "start_container main/0"]


async def test_sidecar_that_fails_its_liveness_probe_is_restarted_while_the_pod_runs(rig: Rig) -> None:
    rig.handlers.answers["live"] = [BAD, BAD, BAD, OK]
    sidecar = {"name": "side", "image": "nginx:1", "restartPolicy": "Always", "livenessProbe": probe("live")}
    rig.create(make_pod(initContainers=[sidecar]))
    await asyncio.sleep(22)
    assert ("Killing", "Init container side failed liveness probe") in rig.events()
    assert rig.container("side")["restartCount"] == 1
    assert rig.container()["restartCount"] == 0
    assert rig.status()["phase"] == "Running"


async def test_readiness_of_a_sidecar_counts_for_the_pod(rig: Rig) -> None:
    rig.handlers.answers["ready"] = [BAD]
    sidecar = {"name": "side", "image": "nginx:1", "restartPolicy": "Always", "readinessProbe": probe("ready")}
    rig.create(make_pod(initContainers=[sidecar]))
    await asyncio.sleep(5)
    assert rig.container()["ready"] is True
    assert readiness(rig) == ("False", "ContainersNotReady", "containers with unready status: [side]")


async def test_at_deletion_liveness_ends_and_readiness_goes_on(rig: Rig) -> None:
    """kubernetes/kubernetes PR 98571, 110309, 78733."""
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.handlers.answers["ready"] = [OK, BAD]
    container = {
        "name": "main",
        "livenessProbe": probe("live", periodSeconds=2),
        "readinessProbe": probe("ready", periodSeconds=2, failureThreshold=1),
    }
    rig.create(make_pod("web", container))
    await asyncio.sleep(1)
    assert rig.container()["ready"] is True
    rig.handlers.answers["live"] = [BAD]
    rig.delete("web", 30)
    rig.handlers.runs.clear()
    await asyncio.sleep(20)
    assert len(rig.handlers.times("ready")) == 10
    assert rig.handlers.times("live") == []
    assert rig.container()["ready"] is False
    assert not any("failed liveness" in message for _, message in rig.events())


async def test_startup_probe_ends_with_deletion_and_stops_to_hold_the_container_back(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.handlers.answers["start"] = [BAD]
    rig.create(make_pod("web", {"name": "main", "startupProbe": probe("start", failureThreshold=99)}))
    await asyncio.sleep(1)
    assert rig.container()["started"] is False
    rig.delete("web", 30)
    rig.handlers.runs.clear()
    await asyncio.sleep(20)
    assert rig.container()["started"] is True
    assert rig.handlers.runs == []


async def test_results_belong_to_one_container_and_not_to_the_next(rig: Rig) -> None:
    """kubernetes#78733."""
    rig.runtime.scripts["main"] = [Script(run_s=5, code=1), Script()]
    rig.handlers.answers["ready"] = [OK, BAD]
    rig.create(make_pod("web", {"name": "main", "readinessProbe": probe("ready", failureThreshold=100)}))
    await asyncio.sleep(4)
    assert rig.container()["ready"] is True
    await asyncio.sleep(2)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["ready"] is False


async def test_result_that_comes_after_the_end_of_its_container_is_dropped(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=5, code=1), Script()]
    rig.handlers.probe_s["live"] = 60
    rig.create(make_pod("web", {"name": "main", "livenessProbe": probe("live", initialDelaySeconds=4)}))
    await asyncio.sleep(6)
    assert rig.handlers.cancelled == ["live"]
    assert rig.container()["restartCount"] == 1


@pytest.mark.parametrize("answer", [BAD, BROKEN])
async def test_failure_of_a_container_that_is_being_killed_is_neither_told_nor_counted(
    rig: Rig, answer: Outcome
) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=9, code=137), Script()]
    rig.handlers.answers["ready"] = [OK, answer, OK]
    fields = {"failureThreshold": 1, "periodSeconds": 4, "initialDelaySeconds": 2}
    rig.create(make_pod("web", {"name": "main", "readinessProbe": probe("ready", **fields)}))
    await asyncio.sleep(5)
    rig.runtime.dying.add("main")  # The kernel knows; its exit comes 4 s later.
    await asyncio.sleep(3)
    assert len(rig.handlers.times("ready")) == 2  # and it is not tried again
    assert rig.container()["ready"] is True
    await asyncio.sleep(2)
    assert rig.container()["restartCount"] == 1
    assert "Unhealthy" not in [reason for reason, _ in rig.events()]


async def test_failure_counts_when_nobody_can_say_whether_its_container_lives(rig: Rig) -> None:
    rig.handlers.answers["live"] = [BAD, BAD, BAD, OK]
    rig.create(make_pod("web", {"name": "main", "livenessProbe": probe("live")}))
    failpoint.set("probe.20-look", "error:EIO")
    try:
        await asyncio.sleep(22)
    finally:
        failpoint.clear("probe.20-look")
    assert rig.events().count(("Unhealthy", "Liveness probe failed: no")) == 3
    assert rig.container()["restartCount"] == 1


async def test_probe_that_cannot_be_run_is_tried_three_times_and_says_nothing_about_the_container(rig: Rig) -> None:
    rig.handlers.answers["live"] = [BROKEN]
    rig.create(make_pod("web", {"name": "main", "livenessProbe": probe("live", failureThreshold=1)}))
    await asyncio.sleep(19)
    assert len(rig.handlers.times("live")) == 6
    assert rig.events().count(("Unhealthy", "Liveness probe errored and resulted in unknown state: cannot ask")) == 2
    assert rig.container()["restartCount"] == 0


async def test_ready_pod_stays_ready_over_a_restart_of_the_daemon(rig: Rig) -> None:
    rig.handlers.answers["ready"] = [OK]
    container = {"name": "main", "readinessProbe": probe("ready"), "startupProbe": probe("start")}
    rig.create(make_pod("web", container))
    await asyncio.sleep(3)
    assert readiness(rig)[0] == "True"
    rig.versions.clear()
    rig.handlers.runs.clear()
    rig.handlers.probe_s["ready"] = 1.0
    await rig.restart()
    await asyncio.sleep(30)
    assert readiness(rig)[0] == "True"
    assert all(v["status"]["conditions"][2]["status"] == "True" for v in rig.versions)
    assert len(rig.handlers.times("ready")) in (2, 3)  # spread over the first period
    assert rig.handlers.times("start") == []


async def test_time_scale_makes_probes_and_back_off_quicker(rig: Rig) -> None:
    backoff = rig.settings.container_backoff.scaled(0.1)
    rig.settings = replace(rig.settings, time_scale=0.1, container_backoff=backoff)
    await rig.restart()
    rig.handlers.answers["live"] = [OK, BAD]
    live = probe("live", failureThreshold=2, initialDelaySeconds=10)
    rig.create(make_pod("web", {"name": "main", "livenessProbe": live}))
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(5.5)
    assert rig.handlers.times("live", begun)[:3] == [1, 2, 3]
    assert rig.container()["restartCount"] == 1
    await asyncio.sleep(0.1)
    waiting = rig.container()["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"].startswith("back-off 1s restarting failed container=main")


async def test_finished_pod_is_not_probed(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=3)]
    rig.create(
        make_pod("web", {"name": "main", "readinessProbe": probe("ready", periodSeconds=1)}, restartPolicy="Never")
    )
    await asyncio.sleep(5)
    assert rig.status()["phase"] == "Succeeded"
    rig.handlers.runs.clear()
    await asyncio.sleep(60)
    assert rig.handlers.runs == []


async def test_readiness_gate_keeps_a_pod_with_ready_containers_from_being_ready(rig: Rig) -> None:
    container = {"name": "main", "readinessProbe": probe("ready")}
    rig.create(make_pod("web", container, readinessGates=[{"conditionType": "example.com/open"}]))
    await asyncio.sleep(2)
    text = 'corresponding condition of pod readiness gate "example.com/open" does not exist.'
    assert readiness(rig) == ("False", "ReadinessGatesNotReady", text)
    assert rig.container()["ready"] is True

    def open_gate(pod: dict[str, Any]) -> dict[str, Any]:
        pod["status"]["conditions"].append({"type": "example.com/open", "status": "True"})
        return pod

    rig.store.mutate(rig.key("web"), open_gate)
    await asyncio.sleep(0.2)
    assert readiness(rig)[0] == "True"
