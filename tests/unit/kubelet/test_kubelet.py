"""Whole pods on a kubelet with fakes, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.kubelet_rig import Rig, make_pod
from podhost.cri.ids import PodUID
from podhost.cri.runtime import ContainerStartError, ContainerState
from podhost.errors import UnavailableError
from podhost.kubelet.probe_state import Outcome, Verdict
from podhost.store.keys import ObjectKey

pytestmark = pytest.mark.looptime


def _conditions(rig: Rig, name: str = "web") -> dict[str, str]:
    return {c["type"]: c["status"] for c in rig.status(name)["conditions"]}


async def test_pod_with_two_containers_becomes_running_and_ready(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "1st"}, {"name": "2nd"}))
    await asyncio.sleep(0.2)
    assert rig.status()["phase"] == "Running"
    assert _conditions(rig)["Ready"] == "True"
    assert rig.status()["podIP"].startswith("10.0.0.")
    assert rig.container("2nd")["ready"] is True
    assert rig.phases() == ["Pending", "Running"]
    reasons = [reason for reason, _ in rig.events()]
    assert sorted(reasons) == sorted(["Pulled", "Created", "Started"] * 2)


async def test_the_start_of_a_pod_costs_two_status_writes(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "1st"}, {"name": "2nd"}))
    await asyncio.sleep(0.2)
    assert len(rig.versions) == 3  # created, waiting, running


async def test_pod_that_never_restarts_completes_and_gives_its_sandbox_back(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=3)]
    rig.create(make_pod(restartPolicy="Never"))
    await asyncio.sleep(4)
    assert rig.status()["phase"] == "Succeeded"
    assert rig.container()["state"]["terminated"]["reason"] == "Completed"
    assert rig.container()["state"]["terminated"]["exitCode"] == 0
    assert rig.volumes.mounted == set()
    assert "stop_pod_sandbox s0001" in rig.runtime.calls
    assert [c.state for c in rig.runtime.list_containers()] == [ContainerState.EXITED]


@pytest.mark.parametrize("probed", [False, True])
async def test_of_a_pod_only_the_latest_version_is_kept(rig: Rig, probed: bool) -> None:
    container = {"name": "main", "readinessProbe": {"exec": {"command": ["true"]}}} if probed else {"name": "main"}
    rig.create(make_pod("web", container))
    await asyncio.sleep(5)
    rig.versions.clear()
    gc.collect()
    versions = {
        obj["metadata"]["resourceVersion"]
        for obj in gc.get_objects()
        if type(obj) is dict and obj.get("kind") == "Pod" and "resourceVersion" in (obj.get("metadata") or {})
        if obj["metadata"].get("uid") == "uid-web"
    }
    pod = rig.pod()
    assert pod is not None
    assert versions == {pod["metadata"]["resourceVersion"]}


@pytest.mark.parametrize("case", ["plain", "probed", "pulling"])
async def test_what_is_kept_of_a_pod_is_freed_with_it_without_the_collector(rig: Rig, case: str) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    container = {"name": "main", "readinessProbe": probe} if case == "probed" else {"name": "main"}
    if case == "pulling":
        container["image"] = "absent:1"
    rig.create(make_pod("web", container))
    await asyncio.sleep(5)
    worker = rig.kubelet.find_worker(PodUID("uid-web"))
    assert worker is not None
    freed = weakref.ref(worker)
    gc.collect()
    gc.disable()
    try:
        del worker
        rig.delete("web", grace_s=0)
        await asyncio.sleep(30)
        assert rig.kubelet.find_worker(PodUID("uid-web")) is None
        assert freed() is None
    finally:
        gc.enable()


async def test_init_containers_run_one_after_another_before_the_others(rig: Rig) -> None:
    for name in ("i1", "i2"):
        rig.runtime.scripts[name] = [Script(run_s=1)]
    init = [{"name": n, "image": "nginx:1"} for n in ("i1", "i2")]
    rig.create(make_pod(initContainers=init))
    await asyncio.sleep(0.5)
    assert rig.container("i1")["state"].get("running")
    assert rig.container()["state"]["waiting"]["reason"] == "PodInitializing"
    assert _conditions(rig)["Initialized"] == "False"
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Running"
    starts = [c for c in rig.runtime.calls if c.startswith("start_container")]
    assert starts == ["start_container i1/0", "start_container i2/0", "start_container main/0"]


async def test_failed_init_container_ends_a_pod_that_never_restarts(rig: Rig) -> None:
    rig.runtime.scripts["i1"] = [Script(run_s=1, code=2)]
    rig.create(make_pod(restartPolicy="Never", initContainers=[{"name": "i1", "image": "nginx:1"}]))
    await asyncio.sleep(2)
    assert rig.status()["phase"] == "Failed"
    assert "start_container main/0" not in rig.runtime.calls


async def test_sidecar_starts_first_and_does_not_block(rig: Rig) -> None:
    sidecar = {"name": "side", "image": "nginx:1", "restartPolicy": "Always"}
    rig.create(make_pod(initContainers=[sidecar]))
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    starts = [c for c in rig.runtime.calls if c.startswith("start_container")]
    assert starts == ["start_container side/0", "start_container main/0"]
    rig.delete("web")
    await asyncio.sleep(1)
    stops = [c for c in rig.runtime.calls if c.startswith("stop_container")]
    assert stops == ["stop_container main 30", "stop_container side 30"]


async def test_crashing_container_backs_off_ten_then_twenty_seconds(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1, code=1)]
    rig.create(make_pod())
    loop = asyncio.get_running_loop()
    times: list[float] = []
    begun = loop.time()
    while len(times) < 4:
        seen = len([c for c in rig.runtime.calls if c.startswith("start_container")])
        if seen > len(times):
            times.append(round(loop.time() - begun))
        await asyncio.sleep(0.25)
    # First restart at once; then 10 s and 20 s after the exits.
    assert times == [0, 1, 12, 33]
    await asyncio.sleep(1.5)
    state = rig.container()["state"]["waiting"]
    assert state["reason"] == "CrashLoopBackOff"
    assert state["message"] == "back-off 40s restarting failed container=main pod=web_default(uid-web)"
    assert rig.container()["lastState"]["terminated"]["exitCode"] == 1
    assert rig.container()["restartCount"] == 3
    assert ("BackOff", "Back-off restarting failed container main in pod web_default(uid-web)") in rig.events()
    assert len(rig.runtime.containers) <= 2


async def test_back_off_survives_a_restart_of_the_kubelet(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1, code=1)]
    rig.create(make_pod())
    await asyncio.sleep(4)
    before = rig.status()
    starts = len(rig.runtime.calls)
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status() == before
    assert [c for c in rig.runtime.calls[starts:] if c.startswith("start_container")] == []
    await asyncio.sleep(8)
    assert [c for c in rig.runtime.calls[starts:] if c.startswith("start_container")] == ["start_container main/2"]


async def test_restart_of_the_kubelet_keeps_running_containers_and_their_status(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "1st"}, {"name": "2nd"}))
    await asyncio.sleep(1)
    before, calls = rig.status(), list(rig.runtime.calls)
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status() == before
    assert rig.runtime.calls == calls


async def test_deletion_stops_containers_then_removes_everything_then_the_object(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.delete("web", 7)
    await asyncio.sleep(0.5)
    assert rig.pod() is None
    assert rig.runtime.sandboxes == {}
    assert rig.runtime.containers == {}
    assert list(rig.settings.log_dir.iterdir()) == []
    assert list(rig.settings.state_dir.iterdir()) == []
    assert "stop_container main 7" in rig.runtime.calls
    assert ("Killing", "Stopping container main") in rig.events()


async def test_second_deletion_shortens_the_grace_of_the_first(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.delete("web", 300)
    await asyncio.sleep(5)
    assert rig.pod() is not None
    rig.delete("web", 2)
    await asyncio.sleep(2.5)
    assert rig.pod() is None


async def test_pod_whose_object_is_gone_is_killed(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.store.delete(rig.key("web"))
    await asyncio.sleep(2.5)
    assert rig.runtime.sandboxes == {}


async def test_pod_with_a_finalizer_stays_until_it_is_taken_away(rig: Rig) -> None:
    pod = make_pod()
    pod["metadata"]["finalizers"] = ["example.com/hold"]
    rig.create(pod)
    await asyncio.sleep(1)
    rig.delete("web", 0)
    await asyncio.sleep(1)
    stored = rig.pod()
    assert stored is not None
    assert stored["metadata"]["deletionGracePeriodSeconds"] == 0
    assert rig.runtime.sandboxes == {}


async def test_sandbox_that_cannot_be_made_is_tried_again(rig: Rig) -> None:
    rig.runtime.fail["run_pod_sandbox"] = [UnavailableError("no address")]
    rig.create(make_pod())
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Running"
    assert ("FailedCreatePodSandBox", "Failed to create pod sandbox: no address") in rig.events()


@pytest.mark.parametrize(("policy", "phase"), [("Never", "Failed"), ("Always", "Pending")])
async def test_command_that_does_not_exist(rig: Rig, policy: str, phase: str) -> None:
    error = ContainerStartError('exec: "nosuch": executable file not found in $PATH')
    rig.runtime.scripts["main"] = [Script(start_error=error)]
    rig.create(make_pod(restartPolicy=policy))
    await asyncio.sleep(2)
    state: dict[str, Any] = rig.container()["state"]
    if policy == "Never":
        assert state["terminated"]["reason"] == "StartError"
        assert state["terminated"]["exitCode"] == 128
        assert rig.status()["phase"] == phase
    else:
        assert state["waiting"]["reason"] == "CrashLoopBackOff"
        assert rig.container()["lastState"]["terminated"]["reason"] == "StartError"
    assert ("Failed", f"Error: {error}") in rig.events()


async def test_deadline_ends_the_pod(rig: Rig) -> None:
    rig.create(make_pod(activeDeadlineSeconds=5))
    await asyncio.sleep(4)
    assert rig.status()["phase"] == "Running"
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Failed"
    assert rig.status()["reason"] == "DeadlineExceeded"
    assert rig.runtime.names(ContainerState.RUNNING) == []


async def test_after_a_reboot_the_pod_gets_a_new_sandbox_and_counts_on(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    await rig.kubelet.stop()
    rig.runtime.reboot()
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    assert rig.container()["restartCount"] == 1
    assert ("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.") in rig.events()


async def test_orphans_are_swept_at_the_start(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    await rig.kubelet.stop()
    rig.store.delete(rig.key("web"))
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.runtime.sandboxes == {}
    assert rig.volumes.mounted == set()
    assert list(rig.settings.log_dir.iterdir()) == []


async def test_termination_message_of_a_file_is_shown(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1, code=3, message="disk full")]
    rig.create(make_pod(restartPolicy="Never"))
    await asyncio.sleep(2)
    terminated = rig.container()["state"]["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (3, "disk full")
    assert rig.status()["phase"] == "Failed"


async def test_opening_a_readiness_gate_makes_the_pod_ready(rig: Rig) -> None:
    rig.create(make_pod(readinessGates=[{"conditionType": "example.com/open"}]))
    await asyncio.sleep(1)
    assert _conditions(rig)["Ready"] == "False"

    def open_gate(pod: dict[str, Any]) -> dict[str, Any]:
        pod["status"]["conditions"].append({"type": "example.com/open", "status": "True"})
        return pod

    rig.store.mutate(ObjectKey("pods", "default", "web"), open_gate)
    await asyncio.sleep(1)
    assert _conditions(rig)["Ready"] == "True"


async def test_container_that_fails_its_liveness_probe_is_started_again_though_it_exits_with_0(rig: Rig) -> None:
    """Under OnFailure: the kubelet restarts what it has killed itself."""
    rig.runtime.scripts["main"] = [Script(term_code=0)]
    probe = {"exec": {"command": ["live"]}, "periodSeconds": 5, "timeoutSeconds": 1,
             "failureThreshold": 1, "successThreshold": 1}  # fmt: skip
    rig.create(make_pod("web", {"name": "main", "livenessProbe": probe}, restartPolicy="OnFailure"))
    await asyncio.sleep(1)
    rig.handlers.answers["live"] = [Outcome(Verdict.FAILURE, "no")]
    await asyncio.sleep(10)
    rig.handlers.answers["live"] = [Outcome(Verdict.SUCCESS)]
    await asyncio.sleep(30)
    assert rig.container()["restartCount"] >= 1
    assert "running" in rig.container()["state"]


async def test_exit_that_nobody_told_is_seen_at_the_next_relist(rig: Rig) -> None:
    """Missed exits: kubernetes#139262."""
    await rig.restart()  # The fixture's timers are of another time.
    rig.create(make_pod())
    await asyncio.sleep(1)
    told, rig.runtime._callbacks = rig.runtime._callbacks, []
    rig.runtime.kill(rig.runtime.list_containers()[0].id, 3)
    rig.runtime._callbacks = told
    await asyncio.sleep(5)
    assert rig.container()["restartCount"] == 0
    await asyncio.sleep(rig.settings.relist_interval_s)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["lastState"]["terminated"]["exitCode"] == 3
