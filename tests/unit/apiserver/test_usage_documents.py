"""Documents of what was measured, as metrics-server writes them, and podhost's own; and their tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from podhost.api.usage_kinds import node_metrics_row, pod_metrics_row, pod_stats_row
from podhost.apiserver.usage_documents import build_node_metrics, build_pod_metrics, build_pod_stats
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.stats import ContainerStats, ContainerUsage, IoUsage, MemoryUsage, NodeUsage, Rates

NOW = datetime(2026, 11, 23, 16, 0, 0, 250_000, tzinfo=UTC)
POD: dict[str, Any] = {"metadata": {"name": "web", "namespace": "ns", "uid": "u", "labels": {"app": "web"}}}


def measured(name: str, nano_cores: int, memory: int, *, window_s: float = 1.25) -> ContainerUsage:
    stats = ContainerStats(
        id=ContainerId(name),
        pod_uid=PodUID("u"),
        name=name,
        started_at_ns=0,
        memory=MemoryUsage(working_set_bytes=memory, usage_bytes=memory + 1),
        io=IoUsage(read_bytes=7, written_bytes=9),
        process_count=2,
    )
    rates = Rates(window_s=window_s, nano_cores=nano_cores, read_bytes_per_s=10.4, written_bytes_per_s=5000)
    return ContainerUsage(stats=stats, rates=rates)


UNMEASURED = ContainerUsage(
    stats=ContainerStats(id=ContainerId("x"), pod_uid=PodUID("u"), name="x", started_at_ns=0), rates=None
)


def test_pod_metrics_are_spelt_as_metrics_server_does() -> None:
    document = build_pod_metrics(POD, [measured("a", 1_500_123, 3 << 20), measured("b", 5_000_000, 1500)], NOW)
    assert document == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": "web",
            "namespace": "ns",
            "labels": {"app": "web"},
            "creationTimestamp": "2026-11-23T16:00:00Z",
        },
        "timestamp": "2026-11-23T16:00:00Z",
        "window": "1.25s",
        "containers": [
            {"name": "a", "usage": {"cpu": "1500123n", "memory": "3Mi"}},
            {"name": "b", "usage": {"cpu": "5m", "memory": "1500"}},
        ],
    }
    assert pod_metrics_row(document, NOW) == ["web", "6500123n", "3147228", "1.25s"]


def test_what_the_host_does_not_count_is_left_out_and_never_zero() -> None:
    assert build_pod_metrics(POD, [UNMEASURED], NOW)["containers"] == []
    assert build_pod_stats(POD, [UNMEASURED], NOW)["containers"] == [{"name": "x", "usage": {}}]


def test_pod_stats_add_streams_processes_and_the_owner() -> None:
    document = build_pod_stats(POD, [measured("a", 1_500_123, 3 << 20, window_s=61.5)], NOW)
    assert document["window"] == "1m1.5s"
    assert document["metadata"]["ownerReferences"][0] == {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u"}
    (container,) = document["containers"]
    assert container["pids"] == 2
    assert container["io"] == {
        "readBytes": 7,
        "writtenBytes": 9,
        "readBytesPerSecond": 10,
        "writtenBytesPerSecond": 5000,
    }
    assert pod_stats_row(document, NOW) == ["web", "2m", "3Mi", "10", "4Ki", 2, "1m1.5s", "a 2m 3Mi"]


def test_a_node_is_one_line() -> None:
    usage = NodeUsage(
        timestamp_ns=0, window_s=1, nano_cores=2 * 10**9, memory=MemoryUsage(working_set_bytes=2048, usage_bytes=4096)
    )
    document = build_node_metrics({"metadata": {"name": "n1"}}, usage, NOW)
    assert document["usage"] == {"cpu": "2", "memory": "2Ki"}
    assert node_metrics_row(document, NOW) == ["n1", "2", "2Ki", "1s"]
