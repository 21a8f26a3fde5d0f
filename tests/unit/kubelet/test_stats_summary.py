"""``/stats/summary`` and ``/metrics/resource`` in the kubelet's shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.stats import (
    ContainerStats,
    ContainerUsage,
    CpuUsage,
    DiskUsage,
    FileSystemStats,
    InterfaceStats,
    MemoryUsage,
    NodeUsage,
    PodSandboxStats,
    Rates,
)
from podhost.kubelet import resource_metrics
from podhost.kubelet.ephemeral_storage import ContainerDisk, PodDisk
from podhost.kubelet.stats_summary import NodeDetails, NodeSeen, PodSeen, build_summary
from podhost.linux.disk_space import DiskSpace

NOW_NS = 1_795_634_040_000_000_000
TIME, START = "2026-11-25T19:14:00Z", "2026-11-25T19:12:20Z"
START_NS = NOW_NS - 100 * 10**9
MEMORY = MemoryUsage(working_set_bytes=300, usage_bytes=400, rss_bytes=200, page_faults=5, major_page_faults=1)
MEMORY_DOCUMENT = {
    "time": TIME, "usageBytes": 400, "workingSetBytes": 300, "rssBytes": 200, "pageFaults": 5, "majorPageFaults": 1
}  # fmt: skip
SPACE = DiskSpace(device=1, capacity_bytes=1000, available_bytes=600, free_bytes=650, inodes=100, inodes_free=90)
NODE = NodeSeen(
    name="n1",
    started_at_ns=START_NS,
    memory_bytes=1000,
    usage=NodeUsage(timestamp_ns=NOW_NS, window_s=1.0, nano_cores=7, usage_core_ns=9 * 10**9, memory=MEMORY),
    pods=(CpuUsage(timestamp_ns=0, usage_core_ns=11), MEMORY),
)
DETAILS = NodeDetails(
    disk=SPACE,
    images_disk=SPACE,
    images_bytes=123,
    tasks=(50, 4096),
    interfaces=(InterfaceStats(name="ens3", rx_bytes=1, rx_errors=2, tx_bytes=3, tx_errors=4),),
    swap=(10, 20),
)


def build_pod(**changes: Any) -> PodSeen:
    container = {"name": "main", "resources": {"limits": {"memory": "1k"}}}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "big"}}
    pod = make_pod("web", container, volumes=[{"name": "tmp", "emptyDir": {}}, claim])
    stats = ContainerStats(
        id=ContainerId("c"), pod_uid=PodUID("uid-web"), name="main", started_at_ns=START_NS,
        cpu=CpuUsage(timestamp_ns=0, usage_core_ns=5 * 10**9), memory=MEMORY,
    )  # fmt: skip
    volume = FileSystemStats(
        used=DiskUsage(used_bytes=70, inodes=7), capacity_bytes=1000, available_bytes=600, inodes=100, inodes_free=90
    )
    seen = PodSeen(
        pod=msgspec.convert(pod, models.Pod),
        containers=(ContainerUsage(stats=stats, rates=Rates(window_s=1.0, nano_cores=42)),),
        sandbox=PodSandboxStats(
            pod_uid=PodUID("uid-web"), created_at_ns=START_NS, cpu=CpuUsage(timestamp_ns=0, usage_core_ns=6 * 10**9),
            memory=MEMORY, process_count=3,
            interfaces=(InterfaceStats(name="eth0", rx_bytes=1, rx_errors=2, tx_bytes=3, tx_errors=4),),
        ),
        disk=PodDisk(
            containers={
                "main": ContainerDisk(
                    rootfs=DiskUsage(used_bytes=40, inodes=4), logs=DiskUsage(used_bytes=10, inodes=1)
                )
            },
            volumes={"tmp": volume, "data": volume},
        ),
    )  # fmt: skip
    return replace(seen, **changes)


def file_system(used_bytes: int, inodes: int) -> dict[str, Any]:
    return {
        "time": TIME, "availableBytes": 600, "capacityBytes": 1000, "usedBytes": used_bytes,
        "inodesFree": 90, "inodes": 100, "inodesUsed": inodes,
    }  # fmt: skip


def test_node_is_described_as_by_a_kubelet() -> None:
    assert build_summary(NODE, DETAILS, [build_pod()], NOW_NS)["node"] == {
        "nodeName": "n1",
        "systemContainers": [
            {
                "name": "pods",
                "startTime": START,
                "cpu": {"time": TIME, "usageCoreNanoSeconds": 11},
                "memory": {**MEMORY_DOCUMENT, "availableBytes": 700},
            }
        ],
        "startTime": START,
        "cpu": {"time": TIME, "usageNanoCores": 7, "usageCoreNanoSeconds": 9 * 10**9},
        "memory": {**MEMORY_DOCUMENT, "availableBytes": 700},
        "network": {
            "time": TIME,
            "name": "",
            "interfaces": [{"name": "ens3", "rxBytes": 1, "rxErrors": 2, "txBytes": 3, "txErrors": 4}],
        },
        "fs": file_system(350, 10),
        "runtime": {"imageFs": file_system(123, 0), "containerFs": file_system(40, 4)},
        "rlimit": {"time": TIME, "maxpid": 4096, "curproc": 50},
        "swap": {"time": TIME, "swapAvailableBytes": 10, "swapUsageBytes": 20},
    }


def test_pod_is_described_as_by_a_kubelet() -> None:
    interface = {"name": "eth0", "rxBytes": 1, "rxErrors": 2, "txBytes": 3, "txErrors": 4}
    assert build_summary(NODE, DETAILS, [build_pod()], NOW_NS)["pods"] == [
        {
            "podRef": {"name": "web", "namespace": "default", "uid": "uid-web"},
            "startTime": START,
            "containers": [
                {
                    "name": "main",
                    "startTime": START,
                    "cpu": {"time": TIME, "usageNanoCores": 42, "usageCoreNanoSeconds": 5 * 10**9},
                    "memory": {**MEMORY_DOCUMENT, "availableBytes": 700},
                    "rootfs": file_system(40, 4),
                    "logs": file_system(10, 1),
                }
            ],
            "cpu": {"time": TIME, "usageNanoCores": 42, "usageCoreNanoSeconds": 6 * 10**9},
            "memory": {**MEMORY_DOCUMENT, "availableBytes": 700},
            "network": {"time": TIME, **interface, "interfaces": [interface]},
            "volume": [
                {**file_system(70, 7), "name": "data", "pvcRef": {"name": "big", "namespace": "default"}},
                {**file_system(70, 7), "name": "tmp"},
            ],
            "ephemeral-storage": file_system(120, 12),
            "process_stats": {"process_count": 3},
        }
    ]


def test_short_form_has_processors_and_memory_only() -> None:
    summary = build_summary(NODE, None, [build_pod(disk=None)], NOW_NS)
    assert set(summary["node"]) == {"nodeName", "systemContainers", "startTime", "cpu", "memory"}
    (pod,) = summary["pods"]
    assert set(pod) == {"podRef", "startTime", "containers", "cpu", "memory"}
    assert set(pod["containers"][0]) == {"name", "startTime", "cpu", "memory"}


def test_what_the_host_does_not_count_is_left_out() -> None:
    (usage,) = build_pod().containers
    unknown = ContainerUsage(stats=replace(usage.stats, cpu=None, memory=None), rates=None)
    (pod,) = build_summary(NODE, None, [build_pod(containers=(unknown,), sandbox=None, disk=None)], NOW_NS)["pods"]
    assert pod["containers"] == [{"name": "main", "startTime": START}]
    assert "cpu" not in pod


def test_resource_metrics_have_the_kubelets_names_and_the_time_of_the_measurement() -> None:
    lines = resource_metrics.render(NODE, [build_pod()], NOW_NS).decode().splitlines()
    labels = 'container="main",namespace="default",pod="web"'
    assert f"container_cpu_usage_seconds_total{{{labels}}} 5.0 {NOW_NS // 10**6}" in lines
    assert f"container_memory_working_set_bytes{{{labels}}} 300.0 {NOW_NS // 10**6}" in lines
    assert f"container_start_time_seconds{{{labels}}} 1.79563394e+09" in lines
    assert f"node_cpu_usage_seconds_total 9.0 {NOW_NS // 10**6}" in lines
    assert f"node_memory_working_set_bytes 300.0 {NOW_NS // 10**6}" in lines
    assert f'pod_cpu_usage_seconds_total{{namespace="default",pod="web"}} 6.0 {NOW_NS // 10**6}' in lines
    assert f'pod_memory_working_set_bytes{{namespace="default",pod="web"}} 300.0 {NOW_NS // 10**6}' in lines
    assert "resource_scrape_error 0.0" in lines
    assert "# TYPE container_cpu_usage_seconds_total counter" in lines
