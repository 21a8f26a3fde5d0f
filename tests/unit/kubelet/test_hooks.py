"""postStart, preStop and the order of stopping, on a kubelet with fakes, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.handler_fakes import BAD, HookScript
from harness.kubelet_rig import Rig, make_pod

pytestmark = pytest.mark.looptime


def hook(word: str) -> dict[str, Any]:
    return {"exec": {"command": [word]}}


def with_hooks(name: str = "main", **hooks: str) -> dict[str, Any]:
    return {"name": name, "lifecycle": {kind: hook(word) for kind, word in hooks.items()}}


def stops(rig: Rig) -> list[str]:
    return [c.removeprefix("stop_container ") for c in rig.runtime.calls if c.startswith("stop_container")]


async def test_container_is_not_running_to_the_user_before_its_post_start_hook_has_returned(rig: Rig) -> None:
    rig.handlers.hooks["begin"] = HookScript(run_s=5)
    container = with_hooks(postStart="begin") | {"livenessProbe": hook("live")}
    rig.create(make_pod("web", container, {"name": "other"}))
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(4)
    assert rig.container()["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert rig.container("other")["state"].get("running")
    assert (rig.container()["started"], rig.container()["ready"]) == (False, False)
    assert rig.status()["phase"] == "Pending"
    await asyncio.sleep(2)
    assert rig.container()["state"].get("running")
    assert rig.container()["ready"] is True
    assert rig.status()["phase"] == "Running"
    assert rig.handlers.times("live", begun) == [5]


async def test_failed_post_start_hook_kills_the_container(rig: Rig) -> None:
    rig.handlers.hooks["begin"] = HookScript(run_s=1, error="Exec lifecycle hook failed")
    rig.create(make_pod("web", with_hooks(postStart="begin")))
    await asyncio.sleep(1.5)
    assert ("FailedPostStartHook", "PostStartHook failed") in rig.events()
    assert ("Killing", "FailedPostStartHook") in rig.events()
    assert stops(rig) == ["main 30"]
    await asyncio.sleep(2)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["lastState"]["terminated"]["exitCode"] == 143
    assert rig.container()["state"]["waiting"]["reason"] in ("CrashLoopBackOff", "PostStartHookError")


async def test_post_start_hook_of_a_sidecar_gates_the_next_container(rig: Rig) -> None:
    rig.handlers.hooks["begin"] = HookScript(run_s=5)
    sidecar = {**with_hooks("side", postStart="begin"), "image": "nginx:1", "restartPolicy": "Always"}
    rig.create(make_pod(initContainers=[sidecar]))
    await asyncio.sleep(4)
    assert "start_container main/0" not in rig.runtime.calls
    await asyncio.sleep(2)
    assert "start_container main/0" in rig.runtime.calls


async def test_pre_stop_hook_runs_before_the_stop_signal_and_within_the_grace_period(rig: Rig) -> None:
    rig.handlers.hooks["end"] = HookScript(run_s=10)
    rig.create(make_pod("web", with_hooks(preStop="end")))
    await asyncio.sleep(1)
    rig.delete("web", 30)
    await asyncio.sleep(9)
    assert stops(rig) == []
    assert ("Killing", "Stopping container main") in rig.events()
    await asyncio.sleep(2)
    assert stops(rig) == ["main 20"]
    assert rig.pod() is None


@pytest.mark.parametrize(("run_s", "left"), [(29, "2"), (1000, "2")])
async def test_container_gets_two_seconds_after_a_hook_that_has_used_up_the_grace_period(
    rig: Rig, run_s: float, left: str
) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.handlers.hooks["end"] = HookScript(run_s=run_s)
    rig.create(make_pod("web", with_hooks(preStop="end")))
    await asyncio.sleep(1)
    rig.delete("web", 30)
    await asyncio.sleep(min(run_s, 30) + 1.5)
    assert stops(rig) == [f"main {left}"]
    assert rig.pod() is not None
    await asyncio.sleep(1)
    assert rig.pod() is None


async def test_failed_pre_stop_hook_is_told_and_the_container_stopped(rig: Rig) -> None:
    rig.handlers.hooks["end"] = HookScript(run_s=1, error="secret")
    rig.create(make_pod("web", with_hooks(preStop="end")))
    await asyncio.sleep(1)
    rig.delete("web", 30)
    await asyncio.sleep(2)
    assert ("FailedPreStopHook", "PreStopHook failed") in rig.events()
    assert not any("secret" in message for _, message in rig.events())
    assert rig.pod() is None


async def test_second_deletion_shortens_a_hook_that_hangs(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.handlers.hooks["end"] = HookScript(run_s=10_000)
    rig.create(make_pod("web", with_hooks(preStop="end")))
    await asyncio.sleep(1)
    rig.delete("web", 3600)
    await asyncio.sleep(100)
    assert stops(rig) == []
    rig.delete("web", 5)
    await asyncio.sleep(5.5)
    assert stops(rig) == ["main 2"]
    assert rig.handlers.cancelled == ["end"]
    await asyncio.sleep(2)
    assert rig.pod() is None


async def test_each_further_deletion_shortens_the_time_after_the_stop_signal_too(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.delete("web", 3600)
    await asyncio.sleep(10)
    rig.delete("web", 600)
    await asyncio.sleep(10)
    rig.delete("web", 60)
    await asyncio.sleep(59)
    assert stops(rig) == ["main 3600", "main 600", "main 60"]
    assert rig.pod() is not None
    await asyncio.sleep(2)
    assert rig.pod() is None


async def test_deletion_of_a_pod_that_is_ending_already_goes_on_with_that_end(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.handlers.hooks["end"] = HookScript(run_s=10)
    rig.create(make_pod("web", with_hooks(preStop="end"), activeDeadlineSeconds=5, terminationGracePeriodSeconds=60))
    begun = asyncio.get_running_loop().time()
    await asyncio.sleep(9)
    rig.delete("web", 60)
    await asyncio.sleep(54)
    assert rig.handlers.times("end", begun) == [5]
    assert rig.handlers.cancelled == []
    assert stops(rig) == ["main 50"]
    assert rig.events().count(("Killing", "Stopping container main")) == 1
    await asyncio.sleep(4)
    assert rig.pod() is None
    assert rig.runtime.containers == {}


async def test_deletion_with_less_patience_shortens_the_end_that_has_begun(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.handlers.hooks["end"] = HookScript(run_s=10_000)
    rig.create(make_pod("web", with_hooks(preStop="end"), activeDeadlineSeconds=5, terminationGracePeriodSeconds=600))
    await asyncio.sleep(10)
    rig.delete("web", 20)
    await asyncio.sleep(5)
    rig.delete("web", 3)
    await asyncio.sleep(3.5)
    assert rig.handlers.cancelled == ["end"]
    assert stops(rig) == ["main 2"]
    await asyncio.sleep(2.5)
    assert rig.pod() is None


async def test_forced_deletion_shortens_the_end_that_has_begun(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod(activeDeadlineSeconds=5, terminationGracePeriodSeconds=600))
    await asyncio.sleep(10)
    rig.store.delete(rig.key("web"))
    await asyncio.sleep(4)
    assert rig.runtime.sandboxes == {}
    assert rig.handlers.cancelled == []


async def test_forced_deletion_cuts_a_hook_short(rig: Rig) -> None:
    rig.handlers.hooks["end"] = HookScript(run_s=10_000)
    rig.create(make_pod("web", with_hooks(preStop="end")))
    await asyncio.sleep(1)
    rig.delete("web", 3600)
    await asyncio.sleep(10)
    rig.store.delete(rig.key("web"))
    await asyncio.sleep(4)
    assert rig.runtime.sandboxes == {}


async def test_deletion_does_not_wait_for_a_post_start_hook_that_hangs(rig: Rig) -> None:
    rig.handlers.hooks["begin"] = HookScript(run_s=10_000)
    rig.create(make_pod("web", with_hooks(postStart="begin", preStop="end")))
    await asyncio.sleep(1)
    rig.delete("web", 30)
    await asyncio.sleep(1)
    assert rig.handlers.cancelled == ["begin"]
    assert len(rig.handlers.times("end")) == 1
    assert rig.pod() is None
    assert not any(reason == "FailedPostStartHook" for reason, _ in rig.events())


async def test_sidecars_are_stopped_last_in_reverse_order_and_their_hooks_run_with_all_others(rig: Rig) -> None:
    """kubernetes#120269, #125880."""
    for word, run_s in (("end-main", 4), ("end-s1", 1), ("end-s2", 2)):
        rig.handlers.hooks[word] = HookScript(run_s=run_s)
    sidecars = [
        {**with_hooks(f"s{n}", preStop=f"end-s{n}"), "image": "nginx:1", "restartPolicy": "Always"} for n in (1, 2)
    ]
    rig.runtime.scripts["s2"] = [Script(ignores_term=True)]
    rig.create(make_pod("web", with_hooks(preStop="end-main"), initContainers=sidecars))
    await asyncio.sleep(1)
    begun = asyncio.get_running_loop().time()
    rig.delete("web", 10)
    await asyncio.sleep(3)
    assert stops(rig) == []
    await asyncio.sleep(20)
    assert [rig.handlers.times(word, begun) for word in ("end-main", "end-s1", "end-s2")] == [[0], [0], [0]]
    # s2 uses up the period; s1 comes after it and still gets its two seconds.
    assert stops(rig) == ["main 6", "s2 6", "s1 2"]
    assert rig.pod() is None


async def test_container_killed_by_a_probe_gets_its_pre_stop_hook(rig: Rig) -> None:
    rig.handlers.answers["live"] = [BAD]
    live = {"exec": {"command": ["live"]}, "failureThreshold": 1, "periodSeconds": 100}
    rig.handlers.hooks["end"] = HookScript(run_s=3)
    rig.create(make_pod("web", with_hooks(preStop="end") | {"livenessProbe": live}))
    await asyncio.sleep(2)
    assert stops(rig) == []
    await asyncio.sleep(2)
    assert stops(rig) == ["main 27"]


async def test_completed_pod_gives_its_sidecar_time_for_its_hook(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=2)]
    rig.handlers.hooks["end"] = HookScript(run_s=3)
    sidecar = {**with_hooks("side", preStop="end"), "image": "nginx:1", "restartPolicy": "Always"}
    rig.create(make_pod(restartPolicy="Never", initContainers=[sidecar]))
    await asyncio.sleep(4)
    assert stops(rig) == []
    await asyncio.sleep(2)
    assert stops(rig) == ["side 27"]
    assert rig.status()["phase"] == "Succeeded"


async def test_at_the_end_of_the_machine_hooks_run_and_sidecars_come_last(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    sidecar = {**with_hooks("side", preStop="end-side"), "image": "nginx:1", "restartPolicy": "Always"}
    rig.create(make_pod("web", with_hooks(preStop="end"), initContainers=[sidecar], terminationGracePeriodSeconds=600))
    rig.handlers.hooks["end"] = HookScript(run_s=10)
    await asyncio.sleep(1)
    await rig.kubelet.stop()
    await rig.kubelet.stop_containers(30)
    assert stops(rig) == ["main 20", "side 2"]
    assert {word for _, word in rig.handlers.runs} == {"end", "end-side"}
    assert rig.status()["phase"] == "Running"  # and so it starts again after the boot
