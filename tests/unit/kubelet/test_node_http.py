"""The paths of the kubelet's own server, on a kubelet of fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.kubelet_rig import Rig, make_pod
from podhost.api.objects import read_pod_uid
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.runtime import ContainerState
from podhost.cri.stats import ContainerStats, ContainerUsage, CpuUsage, MemoryUsage, NodeUsage
from podhost.kubelet.node_http import KubeletHttp
from podhost.kubelet.node_stats import NodeStats
from podhost.linux.usage import CgroupUse

pytestmark = pytest.mark.looptime

MEMORY = MemoryUsage(working_set_bytes=30, usage_bytes=40)


class FakeUsage:
    """Each running container has used a second."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        rig.runtime.stats = lambda: [
            ContainerStats(
                id=ContainerId(each.id), pod_uid=each.pod_uid, name=each.name, started_at_ns=1,
                cpu=CpuUsage(timestamp_ns=0, usage_core_ns=10**9), memory=MEMORY, process_count=2,
            )
            for each in rig.runtime.list_containers()
            if each.state is ContainerState.RUNNING
        ]  # fmt: skip

    async def observe_pods(self, pods: Sequence[Mapping[str, Any]]) -> dict[PodUID, tuple[ContainerUsage, ...]]:
        uids = [PodUID(read_pod_uid(pod)) for pod in pods]
        stats = self._rig.runtime.stats()
        return {
            uid: tuple(ContainerUsage(stats=each, rates=None) for each in stats if each.pod_uid == uid) for uid in uids
        }

    async def observe_node(self) -> NodeUsage:
        return NodeUsage(timestamp_ns=0, window_s=1.0, nano_cores=5, memory=MEMORY, usage_core_ns=7)


@pytest.fixture
def http(rig: Rig) -> KubeletHttp:
    stats = NodeStats(rig.kubelet, FakeUsage(rig), lambda: CgroupUse(cpu_ns=3))
    return KubeletHttp(rig.kubelet, stats)


async def read(http: KubeletHttp, path: str, **query: str) -> Any:
    answer = await http.get(path, query)
    assert answer is not None
    return json.loads(answer.body)


async def test_summary_has_the_pods_that_run(rig: Rig, http: KubeletHttp) -> None:
    rig.create(make_pod("web", volumes=[{"name": "v", "emptyDir": {}}]))
    rig.create(make_pod("waits", {"name": "main", "image": "nosuch:1"}))
    rig.volumes.disk_bytes["web"] = 4096
    rig.runtime.layers["main"] = 1000
    await asyncio.sleep(1)
    found = await read(http, "/stats/summary")
    assert found["node"]["cpu"]["usageCoreNanoSeconds"] == 7
    assert {each["name"] for each in found["node"]["systemContainers"]} == {"kubelet", "pods"}
    assert found["node"]["rlimit"]["curproc"] > 0
    (pod,) = found["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-web"}
    assert pod["containers"][0]["rootfs"]["usedBytes"] == 1000
    assert [(each["name"], each["usedBytes"]) for each in pod["volume"]] == [("v", 4096)]
    logs = pod["containers"][0]["logs"]["usedBytes"]
    assert pod["ephemeral-storage"]["usedBytes"] == 1000 + logs + 4096
    assert pod["process_stats"] == {"process_count": 2}


async def test_trees_are_not_walked_at_each_question(rig: Rig, http: KubeletHttp) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    for _ in range(3):
        await read(http, "/stats/summary")
    assert len(rig.volumes.measured) == 1
    await asyncio.sleep(11)
    await read(http, "/stats/summary", only_cpu_and_memory="true")
    assert len(rig.volumes.measured) == 1
    await read(http, "/stats/summary")
    assert len(rig.volumes.measured) == 2


async def test_other_paths_tell_of_pods_settings_and_health(rig: Rig, http: KubeletHttp) -> None:
    rig.create(make_pod())
    await asyncio.sleep(1)
    pods = await read(http, "/pods/")
    assert (pods["kind"], [each["status"]["phase"] for each in pods["items"]]) == ("PodList", ["Running"])
    assert (await read(http, "/configz"))["kubeletconfig"]["maxPods"] == rig.settings.max_pods
    health = await http.get("/healthz", {})
    assert health is not None
    assert health.body == b"ok"
    metrics = await http.get("/metrics/resource", {})
    assert metrics is not None
    assert b'container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 1.0' in metrics.body
    assert await http.get("/run/default/web/main", {}) is None
    for path in http.paths:
        assert await http.get(path, {}) is not None
