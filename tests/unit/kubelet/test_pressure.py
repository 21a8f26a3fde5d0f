"""A kubelet on a node that runs short of memory or disk, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from podhost.kubelet.eviction_thresholds import (
    ALLOCATABLE_MEMORY,
    IMAGE_DISK,
    MEMORY,
    NODE_DISK,
    NODE_INODES,
    PIDS,
    Observation,
    build_thresholds,
)
from podhost.kubelet.node_signals import NodeLook
from podhost.store.keys import ObjectKey

pytestmark = pytest.mark.looptime

MIB = 1 << 20
NODE = ObjectKey("nodes", "", "n1")


class Machine:
    """What is left; free at first."""

    def __init__(self) -> None:
        self.memory = self.disk = self.images = 1000 * MIB
        self.inodes = self.pids = 10_000
        self.has_image_fs = False
        self.looks = 0
        self.frees: dict[str, tuple[str, int]] = {}
        """What there is more of when a pod has ended."""
        self.is_running: Callable[[str], bool] = lambda _pod: True

    def observe(self, _settings: object) -> NodeLook:
        self.looks += 1
        for pod in [each for each in self.frees if not self.is_running(each)]:
            name, amount = self.frees.pop(pod)
            setattr(self, name, getattr(self, name) + amount)
        return NodeLook(
            {
                MEMORY: Observation(self.memory, 1000 * MIB),
                NODE_DISK: Observation(self.disk, 1000 * MIB),
                NODE_INODES: Observation(self.inodes, 10_000),
                IMAGE_DISK: Observation(self.images, 1000 * MIB),
                PIDS: Observation(self.pids, 10_000),
            },
            self.has_image_fs,
        )


HARD = {MEMORY: "100Mi", NODE_DISK: "100Mi", NODE_INODES: "50%", IMAGE_DISK: "100Mi", PIDS: "1k"}


def set_thresholds(rig: Rig, *flags: dict[str, str], **settings: Any) -> None:
    rig.settings = replace(rig.settings, eviction_thresholds=build_thresholds(*flags), **settings)
    rig.kubelet.context.settings = rig.settings


@pytest.fixture
def machine(rig: Rig, tmp_path: Path) -> Machine:
    machine = Machine()
    set_thresholds(rig, HARD, images_dir=tmp_path / "images")
    rig.kubelet.pressure.observe = machine.observe
    machine.is_running = lambda pod: any(
        each.pod_name == pod and each.state is ContainerState.RUNNING for each in rig.runtime.list_containers()
    )
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
    machine.memory, machine.frees = 96 * MIB, {"large": ("memory", 50 * MIB)}
    await asyncio.sleep(7)
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
    (annotations,) = [each for each in rig.recorder.annotations if each]
    assert annotations == {
        "offending_containers": "main", "offending_containers_usage": "50Mi", "starved_resource": "memory"
    }  # fmt: skip


async def test_pods_go_one_by_one_while_the_pressure_lasts_and_critical_ones_stay(rig: Rig, machine: Machine) -> None:
    rig.runtime.scripts["a/main"] = [Script(ignores_term=True)]
    for name in ("a", "b"):
        rig.create(make_pod(name))
    rig.create(make_pod("system", priority=2_000_000_000))
    use_memory(rig, {"a": 2 * MIB, "b": MIB, "system": 500 * MIB})
    machine.memory = MIB
    await asyncio.sleep(60.5)
    # a has a second to end; b goes when it has.
    assert [reason for reason, _ in rig.events()].count("Evicted") == 1
    assert [rig.status(name)["phase"] for name in ("a", "b", "system")] == ["Running", "Running", "Running"]
    await asyncio.sleep(2)
    assert [rig.status(name)["phase"] for name in ("a", "b", "system")] == ["Failed", "Failed", "Running"]


async def test_soft_threshold_costs_a_pod_after_its_grace_period_and_leaves_it_time_to_end(
    rig: Rig, machine: Machine
) -> None:
    set_thresholds(rig, {}, {MEMORY: "300Mi"}, {MEMORY: "25s"}, eviction_max_pod_grace_s=7)
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod())
    use_memory(rig, {"web": MIB})
    machine.memory = 200 * MIB
    await asyncio.sleep(61)
    assert condition(rig, "MemoryPressure")[0] == "True"
    await asyncio.sleep(23.5)
    assert "Evicted" not in [reason for reason, _ in rig.events()]
    await asyncio.sleep(1)
    assert "stop_container main 7" in rig.runtime.calls
    assert rig.status()["phase"] == "Running"
    await asyncio.sleep(7)
    assert rig.status()["phase"] == "Failed"


async def test_short_lack_below_a_soft_threshold_costs_nothing(rig: Rig, machine: Machine) -> None:
    set_thresholds(rig, {}, {MEMORY: "300Mi"}, {MEMORY: "25s"})
    rig.create(make_pod())
    use_memory(rig, {"web": MIB})
    machine.memory = 200 * MIB
    await asyncio.sleep(75)
    machine.memory = 400 * MIB
    await asyncio.sleep(10)
    machine.memory = 200 * MIB
    await asyncio.sleep(20)
    assert rig.status()["phase"] == "Running"


async def test_pods_go_until_the_minimum_is_reclaimed(rig: Rig, machine: Machine) -> None:
    set_thresholds(rig, {MEMORY: "100Mi"}, {}, {}, {MEMORY: "100Mi"})
    for name in ("a", "b", "c"):
        rig.create(make_pod(name))
    use_memory(rig, {"a": 60 * MIB, "b": 50 * MIB, "c": 10 * MIB})
    machine.memory, machine.frees = 90 * MIB, {"a": ("memory", 60 * MIB), "b": ("memory", 50 * MIB)}
    await asyncio.sleep(65)
    assert [rig.status(name)["phase"] for name in ("a", "b", "c")] == ["Failed", "Failed", "Running"]


async def test_process_ids_are_taken_from_the_pod_with_the_most(rig: Rig, machine: Machine) -> None:
    for name in ("few", "many"):
        rig.create(make_pod(name))
    count = {"few": 3, "many": 4000}
    rig.runtime.stats = lambda: [
        ContainerStats(
            id=each.id, pod_uid=each.pod_uid, name=each.name, started_at_ns=0, process_count=count[each.pod_name]
        )
        for each in rig.runtime.list_containers()
        if each.state is ContainerState.RUNNING
    ]
    machine.pids, machine.frees = 990, {"many": ("pids", 4000)}
    await asyncio.sleep(65)
    assert (
        rig.status("many")["message"] == "The node was low on resource: pids. Threshold quantity: 1k, available: 990. "
    )
    assert rig.status("few")["phase"] == "Running"
    assert condition(rig, "PIDPressure") == (
        "True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"
    )  # fmt: skip
    assert taints(rig) == ["node.kubernetes.io/pid-pressure:NoSchedule"]
    assert ("NodeHasInsufficientPID", "Node n1 status is now: NodeHasInsufficientPID") in rig.events()
    assert ("EvictionThresholdMet", "Attempting to reclaim pids") in rig.events()


async def test_inodes_are_taken_from_the_pod_with_the_most(rig: Rig, machine: Machine) -> None:
    rig.create(make_pod("bytes", {"name": "large"}))
    rig.create(make_pod("files", {"name": "many"}))
    rig.runtime.layers, rig.runtime.inodes = {"large": 900 * MIB}, {"large": 3, "many": 5000}
    machine.inodes, machine.frees = 4000, {"files": ("inodes", 5000)}
    await asyncio.sleep(65)
    text = "The node was low on resource: inodes. Threshold quantity: 5000, available: 4k. "
    assert rig.status("files")["message"] == text
    assert rig.status("bytes")["phase"] == "Running"
    assert condition(rig, "DiskPressure")[0] == "True"
    (annotations,) = [each for each in rig.recorder.annotations if each]
    assert annotations == {
        "offending_containers": "", "offending_containers_usage": "", "starved_resource": "inodes"
    }  # fmt: skip


async def test_images_go_only_when_they_are_on_the_full_disk(rig: Rig, machine: Machine) -> None:
    rig.images.add("unused:1")
    machine.has_image_fs = True
    machine.disk = 50 * MIB
    rig.create(make_pod(priority=2_000_000_000))
    await asyncio.sleep(65)
    assert "docker.io/library/unused:1" in rig.images.local
    machine.disk, machine.images = 500 * MIB, 50 * MIB
    await asyncio.sleep(60)
    assert "docker.io/library/unused:1" not in rig.images.local


async def test_memory_that_pods_may_use_can_have_a_threshold_of_its_own(rig: Rig, machine: Machine) -> None:
    rig.kubelet.context.host = replace(rig.kubelet.context.host, memory_bytes=1000 * MIB)
    set_thresholds(rig, {ALLOCATABLE_MEMORY: "400Mi"})
    rig.create(make_pod())
    use_memory(rig, {"web": 700 * MIB})
    await asyncio.sleep(65)
    assert rig.status()["message"].startswith(
        "The node was low on resource: memory. Threshold quantity: 400Mi, available: 300Mi. "
    )


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
    for name in ("reader", "writer"):
        rig.create(make_pod(name, volumes=[{"name": "v", "emptyDir": {}}]))
    rig.volumes.disk_bytes = {"writer": 300 * MIB, "reader": MIB}
    rig.runtime.layers = {"main": 3 * MIB}
    await asyncio.sleep(59)
    machine.disk, machine.frees = 50 * MIB, {"writer": ("disk", 300 * MIB)}
    await asyncio.sleep(6)
    text = "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 50Mi. "
    message = rig.status("writer")["message"]
    assert message.startswith(text + "Container main was using 3")
    assert message.endswith(", request is 0, has larger consumption of ephemeral-storage. ")
    assert rig.status("reader")["phase"] == "Running"


async def test_pod_that_cannot_be_measured_keeps_no_other_from_leaving(
    rig: Rig, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a kubelet without numbers, it goes first."""
    for name in ("broken", "large"):
        rig.create(make_pod(name, volumes=[{"name": "v", "emptyDir": {}}]))
    rig.volumes.disk_bytes = {"large": 300 * MIB}
    measure = rig.volumes.measure_volumes

    async def fail(pod: Any, names: Any = None) -> Any:
        if pod.metadata.name == "broken":
            raise PermissionError(13, "Permission denied", "/v")
        return await measure(pod, names)

    monkeypatch.setattr(type(rig.volumes), "measure_volumes", lambda _self, pod, names=None: fail(pod, names))
    await asyncio.sleep(59)
    machine.disk, machine.frees = 50 * MIB, {"large": ("disk", 300 * MIB)}
    await asyncio.sleep(6)
    text = "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 50Mi. "
    assert rig.status("broken")["message"] == text
    assert rig.status("large")["message"].startswith(text)


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
    rig.kubelet.pressure.start()
    await asyncio.sleep(1000)
    assert machine.looks == 1
    rig.create(make_pod())
    await asyncio.sleep(2)
    assert machine.looks == 2  # what was seen long ago says nothing
    await asyncio.sleep(60)
    assert machine.looks == 3


async def test_node_that_is_full_at_the_start_says_so_at_once(rig: Rig, machine: Machine) -> None:
    machine.disk = MIB
    rig.kubelet.pressure.start()
    await asyncio.sleep(1)
    assert condition(rig, "DiskPressure")[0] == "True"


async def test_little_is_looked_at_more_often_than_plenty(rig: Rig, machine: Machine) -> None:
    rig.create(make_pod())
    await asyncio.sleep(61)
    machine.memory = 150 * MIB
    await asyncio.sleep(60)
    assert machine.looks == 2
    await asyncio.sleep(30)
    assert machine.looks == 5


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
