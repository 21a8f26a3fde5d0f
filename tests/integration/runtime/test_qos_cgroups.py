"""The cgroups above pods, by class: made, given their shares, found again by the next daemon, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podhost.api.qos import QosClass
from podhost.cri.runtime import LinuxResources
from podhost.linux import cgroup

Machine = Any
PLACES: dict[QosClass, str] = {"Guaranteed": "", "Burstable": "/burstable", "BestEffort": "/besteffort"}


def read_shares(path: str) -> str:
    layout = cgroup.detect()
    directory = layout.directory("cpu", path)
    assert directory is not None
    return (directory / ("cpu.weight" if layout.version == 2 else "cpu.shares")).read_text().strip()


@pytest.mark.parametrize("machine", ["crun", "runc"], indirect=True)
@pytest.mark.parametrize("shared", [False, True], ids=["", "shared-pids"])
async def test_containers_of_each_class_are_below_its_cgroup(machine: Machine, shared: bool) -> None:
    top = machine.settings.cgroup_parent
    for qos_class, place in PLACES.items():
        sandbox = await machine.sandbox(qos_class=qos_class, share_process_namespace=shared)
        container = await machine.start(sandbox, "sleep", "1000")
        path = f"{top}{place}/pod{sandbox.uid}/{container}"
        assert cgroup.pids(path) == {machine.service.container_status(container).pid}
        (stats,) = await machine.service.list_container_stats([sandbox.uid])
        assert stats.process_count >= 1  # runc init has threads until it becomes the program
        done = await machine.service.exec_sync(container, ("cat", "/proc/self/cgroup"), 20)
        assert b"/exec-" in done.stdout
        await machine.service.update_container_resources(container, LinuxResources(pids_limit=77))
        pids = cgroup.detect().directory("pids", path)
        assert pids is not None
        assert (pids / "pids.max").read_text() == "77\n"
        await machine.service.remove_pod_sandbox(sandbox.id)
        assert not any(
            directory.exists() for directory in cgroup.detect().directories(f"{top}{place}/pod{sandbox.uid}")
        )
    assert machine.leftovers() == []


async def test_a_class_gets_its_shares_and_the_whole_what_the_machine_has(machine: Machine) -> None:
    top, version = machine.settings.cgroup_parent, cgroup.detect().version
    for qos_class in PLACES:
        await machine.service.update_qos_resources(qos_class, LinuxResources(cpu_shares=2048))
    await machine.service.update_qos_resources("BestEffort", LinuxResources(cpu_shares=2))
    whole, least = ("174", "1") if version == 2 else ("2048", "2")
    paths = (top.rpartition("/")[0], top, f"{top}/burstable", f"{top}/besteffort")
    assert [read_shares(path) for path in paths] == [whole, whole, whole, least]


async def test_the_next_daemon_finds_pods_where_they_are_and_sweeps_what_nobody_knows(machine: Machine) -> None:
    top = machine.settings.cgroup_parent
    sandbox = await machine.sandbox(qos_class="Burstable")
    container = await machine.start(sandbox, "sleep", "1000")
    older = await machine.sandbox()
    its = await machine.start(older, "sleep", "1000")
    await machine.service.close()
    # As a daemon wrote it that did not know of classes.
    record: Path = machine.settings.data_dir / "sandboxes" / f"{older.id}.json"
    document = json.loads(record.read_text())
    del document["config"]["qos_class"]
    record.write_text(json.dumps(document))
    strays = [f"{top}{place}/podstray" for place in PLACES.values()]
    for path in strays:
        cgroup.create(f"{path}/{'c' * 64}")
    machine.service = machine.new_service()
    await machine.service.recover()
    assert not any(directory.exists() for path in strays for directory in cgroup.detect().directories(path))
    for each in (container, its):
        assert (await machine.service.exec_sync(each, ("echo", "here"), 20)).stdout == b"here\n"
    await machine.service.remove_pod_sandbox(sandbox.id)
    await machine.service.remove_pod_sandbox(older.id)
    assert machine.leftovers() == []
