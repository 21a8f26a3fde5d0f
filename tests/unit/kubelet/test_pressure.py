"""A kubelet on a node that runs short of memory or disk, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.kubelet_rig import Rig, make_pod
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState
from podhost.cri.stats import ContainerStats, MemoryUsage
from podhost.kubelet import image_gc
from podhost.kubelet.node_pressure import DISK, MEMORY, Observation, Threshold
from podhost.store.keys import ObjectKey

pytestmark = pytest.mark.looptime

MIB = 1 << 20
NODE = ObjectKey("nodes", "", "n1")


class Machine:
    """What is left of memory and disk; free at first."""

    def __init__(self) -> None:
        self.memory = self.disk = 1000 * MIB
        self.looks = 0

    def observe(self, _settings: object) -> dict[str, Observation]:
        self.looks += 1
        return {MEMORY: Observation(self.memory, 1000 * MIB), DISK: Observation(self.disk, 1000 * MIB)}


@pytest.fixture
def machine(rig: Rig, tmp_path: Path) -> Machine:
    machine = Machine()
    thresholds = (Threshold(MEMORY, 100 * MIB), Threshold(DISK, 100 * MIB))
    rig.settings = replace(rig.settings, eviction_hard=thresholds, images_dir=tmp_path / "images")
    rig.kubelet.context.settings = rig.settings
    rig.kubelet.pressure.observe = machine.observe
    return machine


def use_memory(rig: Rig, used: dict[str, int]) -> None:
    """By pod."""
    rig.runtime.stats = lambda: [
        ContainerStats(
            id=ContainerId(each.id), pod_uid=each.pod_uid, name=each.name, started_at_ns=0,
            memory=MemoryUsage(working_set_bytes=used[each.pod_name], usage_bytes=used[each.pod_name]),
        )
        for each in rig.runtime.list_containers()
        if each.state is ContainerState.RUNNING
    ]  # fmt: skip


def condition(rig: Rig, name: str) -> tuple[str, str, str]:
    node: Any = rig.store.get(NODE)
    found = next(each for each in node["status"]["conditions"] if each["type"] == name)
    return found["status"], found["reason"], found["message"]


def taints(rig: Rig) -> list[str]:
    node: Any = rig.store.get(NODE)
    return [f"{each['key']}:{each['effect']}" for each in node["spec"].get("taints", [])]


async def test_short_memory_takes_the_greediest_pod_only_until_it_is_enough(rig: Rig, machine: Machine) -> None:
    guaranteed = {"name": "main", "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}}}
    rig.create(make_pod("modest", guaranteed))
    rig.create(make_pod("small"))
    rig.create(make_pod("large"))
    use_memory(rig, {"modest": 60 * MIB, "small": 5 * MIB, "large": 50 * MIB})
    await asyncio.sleep(59)
    machine.memory = 96 * MIB
    await asyncio.sleep(2)
    machine.memory = 150 * MIB
    await asyncio.sleep(5)
    text = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 96Mi. "
        "Container main was using 50Mi, request is 0, has larger consumption of memory. "
    )
    status = rig.status("large")
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", text)
    disruption = next(each for each in status["conditions"] if each["type"] == "DisruptionTarget")
    assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
    assert disruption["message"] == text
    assert [rig.status(name)["phase"] for name in ("small", "modest")] == ["Running", "Running"]
    assert condition(rig, "MemoryPressure") == (
        "True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"
    )  # fmt: skip
    assert taints(rig) == ["node.kubernetes.io/memory-pressure:NoSchedule"]
    told = rig.events()
    assert ("EvictionThresholdMet", "Attempting to reclaim memory") in told
    assert ("NodeHasInsufficientMemory", "Node n1 status is now: NodeHasInsufficientMemory") in told
    assert ("Evicted", text) in told


async def test_pods_go_one_by_one_while_the_pressure_lasts_and_critical_ones_stay(rig: Rig, machine: Machine) -> None:
    for name in ("a", "b"):
        rig.create(make_pod(name))
    rig.create(make_pod("system", priority=2_000_000_000))
    use_memory(rig, {"a": 2 * MIB, "b": MIB, "system": 500 * MIB})
    machine.memory = MIB
    await asyncio.sleep(65)
    assert [rig.status(name)["phase"] for name in ("a", "b", "system")] == ["Failed", "Running", "Running"]
    await asyncio.sleep(60)
    assert [rig.status(name)["phase"] for name in ("a", "b", "system")] == ["Failed", "Failed", "Running"]


async def test_next_pod_goes_when_the_last_has_left(rig: Rig, machine: Machine) -> None:
    for name in ("a", "b"):
        rig.create(make_pod(name))
    rig.runtime.scripts["a/main"] = [Script(ignores_term=True)]
    use_memory(rig, {"a": 2 * MIB, "b": MIB})
    machine.memory = MIB
    rig.kubelet.context.settings = replace(rig.settings, housekeeping_interval_s=0.25)
    await asyncio.sleep(60.5)
    assert [rig.status(name)["phase"] for name in ("a", "b")] == ["Running", "Running"]
    assert [reason for reason, _ in rig.events()].count("Evicted") == 1
    await asyncio.sleep(3)
    assert [rig.status(name)["phase"] for name in ("a", "b")] == ["Failed", "Failed"]


async def test_under_pressure_new_pods_are_rejected_and_later_taken_again(rig: Rig, machine: Machine) -> None:
    rig.create(make_pod("system", priority=2_000_000_000))
    use_memory(rig, {"system": MIB, "best": MIB, "burst": MIB, "late": MIB})
    machine.memory = MIB
    await asyncio.sleep(61)
    rig.create(make_pod("best"))
    rig.create(make_pod("burst", {"name": "main", "resources": {"requests": {"cpu": "1m"}}}))
    machine.memory = 500 * MIB
    await asyncio.sleep(15)
    status = rig.status("best")
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    assert ("Evicted", "The node had condition: [MemoryPressure]. ") in rig.events()
    assert rig.status("burst")["phase"] == "Running"
    await asyncio.sleep(320)
    assert condition(rig, "MemoryPressure")[:2] == ("False", "KubeletHasSufficientMemory")
    assert taints(rig) == []
    assert ("NodeHasSufficientMemory", "Node n1 status is now: NodeHasSufficientMemory") in rig.events()
    rig.create(make_pod("late"))
    await asyncio.sleep(2)
    assert rig.status("late")["phase"] == "Running"


async def test_disk_is_first_freed_of_unused_images(
    rig: Rig, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.images.add("unused:1")
    rig.images.add("mine:1", local_name=True)
    remove = type(rig.images).remove_image

    async def remove_and_free(images: Any, ref: str) -> None:
        await remove(images, ref)
        machine.disk = 500 * MIB

    monkeypatch.setattr(type(rig.images), "remove_image", remove_and_free)
    rig.create(make_pod())
    await asyncio.sleep(59)
    machine.disk = 50 * MIB
    await asyncio.sleep(5)
    assert sorted(rig.images.local) == ["docker.io/library/mine:1", "docker.io/library/nginx:1"]
    assert rig.status()["phase"] == "Running"
    assert condition(rig, "DiskPressure") == ("True", "KubeletHasDiskPressure", "kubelet has disk pressure")
    assert taints(rig) == ["node.kubernetes.io/disk-pressure:NoSchedule"]


async def test_pod_with_most_disk_goes_when_images_are_not_enough(rig: Rig, machine: Machine) -> None:
    rig.create(make_pod("writer"))
    rig.create(make_pod("reader"))
    rig.volumes.disk_bytes["writer"] = 300 * MIB
    rig.runtime.layers = {"main": 3 * MIB}
    await asyncio.sleep(59)
    machine.disk = 50 * MIB
    await asyncio.sleep(5)
    machine.disk = 350 * MIB
    await asyncio.sleep(60)
    text = "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 50Mi. "
    message = rig.status("writer")["message"]
    assert message.startswith(text + "Container main was using 3")
    assert message.endswith(", request is 0, has larger consumption of ephemeral-storage. ")
    assert rig.status("reader")["phase"] == "Running"


async def test_finished_pods_lose_their_containers_to_a_full_disk_but_not_their_status(
    rig: Rig, machine: Machine
) -> None:
    rig.runtime.scripts["main"] = [Script(code=3, run_s=1)]
    rig.create(make_pod("done", restartPolicy="Never"))
    rig.create(make_pod("system", {"name": "stays"}, priority=2_000_000_000))
    await asyncio.sleep(59)
    before = rig.status("done")
    assert before["phase"] == "Failed"
    machine.disk = 50 * MIB
    await asyncio.sleep(65)
    assert [each.pod_name for each in rig.runtime.list_containers()] == ["system"]
    assert [each.name for each in rig.runtime.list_pod_sandboxes()] == ["system"]
    assert rig.status("done") == before
    rig.delete("done", grace_s=1)
    await asyncio.sleep(5)
    assert rig.pod("done") is None


async def test_nothing_is_looked_at_without_pods_or_pressure(rig: Rig, machine: Machine) -> None:
    await asyncio.sleep(1000)
    assert machine.looks == 0
    rig.create(make_pod())
    await asyncio.sleep(61)
    assert machine.looks == 1


async def test_unused_images_go_between_the_marks_oldest_first(
    rig: Rig, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"percent": 50}
    monkeypatch.setattr(
        image_gc.ImageReclaimer, "_read_disk", lambda _self: (100, used["percent"] + 5 * len(rig.images.local))
    )
    for name in ("old:1", "older:1"):
        rig.images.add(name)
    rig.create(make_pod())
    rig.create(make_pod("brief", {"name": "x", "image": "old:1"}))
    await asyncio.sleep(130)
    rig.delete("brief", grace_s=1)
    await asyncio.sleep(60)
    assert len(rig.images.local) == 3
    used["percent"] = 72
    await asyncio.sleep(60)
    assert sorted(rig.images.local) == ["docker.io/library/nginx:1"]
    used["percent"] = 90
    await asyncio.sleep(60)
    failures = [text for reason, text in rig.events() if reason == "FreeDiskSpaceFailed"]
    assert failures[0].startswith("Failed to garbage collect required amount of images. Attempted to free 15 bytes,")


async def test_pods_cannot_request_what_eviction_keeps_free(rig: Rig, machine: Machine) -> None:
    await rig.restart()
    node: Any = rig.store.get(NODE)
    capacity, allocatable = node["status"]["capacity"], node["status"]["allocatable"]
    assert int(capacity["memory"][:-2]) - int(allocatable["memory"][:-2]) == 100 * 1024
    disk = int(capacity["ephemeral-storage"][:-2]) * 1024
    assert disk - int(allocatable["ephemeral-storage"]) == 100 * MIB
