"""The cgroups above pods follow what the pods of their class request."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from harness.cri_fakes import FakeRuntime, Script
from harness.kubelet_rig import Rig, make_pod
from podhost.aiokit.clock import FakeClock
from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.errors import PodhostError
from podhost.kubelet.qos_cgroups import QosCgroups


def sized(requests: dict[str, str], limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"name": "main", "resources": {"requests": requests, "limits": limits or {}}}


def convert(name: str, *containers: dict[str, Any]) -> models.Pod:
    return msgspec.convert(make_pod(name, *containers), models.Pod)


ALL = {"cpu": "500m", "memory": "64Mi"}


def test_only_burstable_pods_add_to_the_shares_of_their_class() -> None:
    qos = QosCgroups(FakeRuntime(FakeClock()))
    qos.on_allocated(convert("plain", {"name": "main"}))
    qos.on_allocated(convert("guaranteed", sized(ALL, ALL)))
    assert qos.compute_shares()["Burstable"] == 2
    one, other = convert("one", sized({"cpu": "1500m"})), convert("other", sized({"cpu": "500m"}))
    qos.on_allocated(one)
    qos.on_allocated(other)
    assert qos.compute_shares()["Burstable"] == 2048
    qos.on_allocated(convert("one", sized({"cpu": "500m"})))
    assert qos.compute_shares()["Burstable"] == 1024
    for pod in (one, one, other):
        qos.on_gone(PodUID(pod.metadata.uid))
    assert qos.compute_shares()["Burstable"] == 2


def test_shares_of_a_class_end_where_the_kernel_ends() -> None:
    qos = QosCgroups(FakeRuntime(FakeClock()))
    qos.on_allocated(convert("much", sized({"cpu": "1M"})))
    assert qos.compute_shares()["Burstable"] == 262_144


def shares(rig: Rig) -> dict[str, int | None]:
    return {name: value.cpu_shares for name, value in rig.runtime.qos_resources.items()}


@pytest.mark.looptime
async def test_values_are_written_at_the_start_and_when_pods_come_and_go(rig: Rig) -> None:
    await asyncio.sleep(0.1)
    assert shares(rig) == {"Guaranteed": 2048, "Burstable": 2, "BestEffort": 2}
    rig.create(make_pod("web", sized({"cpu": "1"})))
    rig.create(make_pod("job", sized({"cpu": "500m"}), restartPolicy="Never"))
    rig.runtime.scripts["job/main"] = [Script(run_s=5)]
    await asyncio.sleep(1)
    assert shares(rig)["Burstable"] == 1536
    await asyncio.sleep(10)
    assert shares(rig)["Burstable"] == 1024, "what has ended requests nothing"
    rig.runtime.qos_resources.clear()
    await rig.restart()
    await asyncio.sleep(0.1)
    assert shares(rig) == {"Guaranteed": 2048, "Burstable": 1024, "BestEffort": 2}, "whoever wrote them meanwhile"
    rig.delete("web", grace_s=0)
    await asyncio.sleep(1)
    assert shares(rig)["Burstable"] == 2


@pytest.mark.looptime
async def test_a_resize_changes_the_shares_of_the_class_and_a_refusal_stops_no_pod(rig: Rig) -> None:
    await asyncio.sleep(0.1)
    rig.runtime.fail["update_qos_resources"] = [PodhostError("no such file")]
    rig.create(make_pod("web", sized({"cpu": "1"})))
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    assert shares(rig)["Burstable"] == 2

    def grow(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1500m"
        return pod

    rig.store.mutate(rig.key("web"), grow)
    await asyncio.sleep(1)
    assert shares(rig)["Burstable"] == 1536
