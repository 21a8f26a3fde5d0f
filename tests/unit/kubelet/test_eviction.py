"""Pods over the limits of their volumes, and events about fields, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.kubelet_rig import Rig, make_pod
from podhost.aiokit import failpoint
from podhost.cri.ids import PodUID
from podhost.cri.runtime import ContainerState
from podhost.errors import ExhaustedError
from podhost.kubelet import pod_worker
from podhost.kubelet.field_events import compute_field_messages

pytestmark = pytest.mark.looptime

TEXT = 'Usage of EmptyDir volume "x" exceeds the limit "1Mi". '
LIMITED: list[dict[str, Any]] = [{"name": "x", "emptyDir": {"sizeLimit": "1Mi"}}]


async def test_pod_over_its_limit_is_evicted_at_the_next_look(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    rig.create(make_pod(volumes=LIMITED))
    await asyncio.sleep(61)
    assert rig.volumes.measured == ["web"]
    assert rig.status()["phase"] == "Running"
    rig.volumes.disk_bytes["web"] = 2 << 20
    await asyncio.sleep(59.5)
    assert ("Evicted", TEXT) in rig.events()
    assert rig.status()["phase"] == "Running"  # until its containers have stopped
    await asyncio.sleep(2)
    status = rig.status()
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", TEXT)
    assert "stop_container main 2" in rig.runtime.calls
    assert rig.runtime.names(ContainerState.RUNNING) == []
    assert rig.volumes.mounted == set()


async def test_evicted_pod_stays_so_and_is_not_measured_again(rig: Rig) -> None:
    rig.volumes.disk_bytes["web"] = 2 << 20
    rig.create(make_pod(volumes=LIMITED))
    await asyncio.sleep(400)
    assert rig.volumes.measured == ["web"]
    assert [reason for reason, _ in rig.events()].count("Evicted") == 1
    assert [c.attempt for c in rig.runtime.list_containers()] == [0]
    await rig.restart()
    await asyncio.sleep(1)
    assert rig.status()["reason"] == "Evicted"


@pytest.mark.parametrize("verb", ["evict", "preempt"])
async def test_a_pod_ends_though_the_store_takes_no_condition(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A full disk is a time for evictions."""

    def refuse(*_: object) -> None:
        raise ExhaustedError("cannot write: no space left on device")

    monkeypatch.setattr(pod_worker, "write_disruption", refuse)
    rig.create(make_pod())
    await asyncio.sleep(1)
    worker = rig.kubelet.find_worker(PodUID("uid-web"))
    assert worker is not None
    if verb == "evict":
        worker.evict("The node was low on resource: memory. ", is_disruption=True)
    else:
        worker.preempt()
    await asyncio.sleep(35)
    assert rig.status()["phase"] == "Failed"
    assert rig.runtime.names(ContainerState.RUNNING) == []


@pytest.mark.parametrize("source", [{}, {"medium": "Memory", "sizeLimit": "1Mi"}], ids=["without limit", "in memory"])
async def test_nothing_is_measured_without_a_limit_on_disk(rig: Rig, source: dict[str, str]) -> None:
    rig.create(make_pod(volumes=[{"name": "x", "emptyDir": source}]))
    await asyncio.sleep(200)
    assert rig.volumes.measured == []


async def test_measuring_ends_with_the_last_limited_pod(rig: Rig) -> None:
    rig.create(make_pod(volumes=LIMITED))
    await asyncio.sleep(61)
    rig.delete("web", grace_s=1)
    await asyncio.sleep(300)
    assert rig.volumes.measured == ["web"]
    rig.create(make_pod("again", volumes=LIMITED))
    await asyncio.sleep(61)
    assert rig.volumes.measured == ["web", "again"]


async def test_field_that_is_not_honoured_is_told_once_a_pod(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(code=1, run_s=1), Script()]
    rig.create(make_pod(affinity={"podAffinity": {}}))
    await asyncio.sleep(20)
    await rig.restart()
    rig.runtime.reboot()
    await asyncio.sleep(20)
    told = [message for reason, message in rig.events() if reason == "FieldNotHonoured"]
    assert told == ["spec.affinity.podAffinity: not honoured by podhost; there is one node, and every pod runs on it"]


def test_fields_with_the_same_effect_share_one_message() -> None:
    containers: list[dict[str, Any]] = [{"name": name, "volumeDevices": [{}]} for name in ("a", "b")]
    messages = compute_field_messages({"containers": containers, "affinity": {"podAffinity": {}}})
    assert sorted(message.partition(":")[0] for message in messages) == [
        "spec.affinity.podAffinity",
        "spec.containers[0].volumeDevices, spec.containers[1].volumeDevices",
    ]


async def test_an_evicted_pod_ends_on_a_disk_that_takes_no_write_and_says_so_when_there_is_room(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    worker = rig.kubelet.find_worker(PodUID("uid-web"))
    assert worker is not None
    failpoint.set("store.write", "error:ENOSPC")
    try:
        worker.evict("The node was low on resource: ephemeral-storage. ", is_disruption=True)
        await asyncio.sleep(5)
        assert rig.runtime.names(ContainerState.RUNNING) == []
        assert rig.volumes.mounted == set()
        assert rig.status()["phase"] == "Running"
    finally:
        failpoint.clear()
    await asyncio.sleep(30)
    assert (rig.status()["phase"], rig.status()["reason"]) == ("Failed", "Evicted")


async def test_a_deleted_pod_gives_back_all_it_holds_before_anything_has_to_be_written(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    rig.delete("web")
    failpoint.set("store.write", "error:ENOSPC")
    try:
        await asyncio.sleep(60)
        assert rig.runtime.list_containers() == []
        assert rig.volumes.mounted == set()
    finally:
        failpoint.clear()
    await asyncio.sleep(60)
    assert rig.store.list("pods")[0] == []


async def test_a_kubelet_starts_on_a_disk_that_takes_no_write(rig: Rig) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    failpoint.set("store.write", "error:ENOSPC")
    try:
        await rig.restart()
        await asyncio.sleep(1)
        assert rig.kubelet.find_worker(PodUID("uid-web")) is not None
    finally:
        failpoint.clear()
