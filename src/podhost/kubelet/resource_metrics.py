"""``/metrics/resource`` of a kubelet, which metrics-server and Prometheus read; imported with the first question.

Metrics and their descriptions are those of kubernetes 1.37 pkg/kubelet/metrics/collectors/resource_metrics.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from podhost.cri.stats import CpuUsage, MemoryUsage
from podhost.kubelet.stats_summary import NodeSeen, PodSeen

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_POD = ("pod", "namespace")
_CONTAINER = ("container", *_POD)


def render(node: NodeSeen, pods: Sequence[PodSeen], now_ns: int) -> bytes:
    """The text, with the time of the measurement at each value."""
    registry = CollectorRegistry()
    registry.register(_ResourceCollector(node, pods, now_ns / 1e9))
    return bytes(generate_latest(registry))


class _ResourceCollector(Collector):
    def __init__(self, node: NodeSeen, pods: Sequence[PodSeen], now_s: float) -> None:
        self._node = node
        self._pods = pods
        self._now_s = now_s

    def collect(self) -> Iterable[Metric]:
        """In the order of their names, as Go prints them."""
        yield from self._collect_containers()
        yield from self._collect_node()
        yield from self._collect_pods()
        for name, level in (("resource_scrape_error", "STABLE"), ("scrape_error", "ALPHA")):
            text = f"[{level}] 1 if there was an error while getting container metrics, 0 otherwise"
            yield GaugeMetricFamily(name, text, value=0)

    def _collect_containers(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "container_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            labels=_CONTAINER,
        )
        memory = GaugeMetricFamily(
            "container_memory_working_set_bytes",
            "[STABLE] Current working set of the container in bytes",
            labels=_CONTAINER,
        )
        start = GaugeMetricFamily(
            "container_start_time_seconds",
            "[STABLE] Start time of the container since unix epoch in seconds",
            labels=_CONTAINER,
        )
        for pod in self._pods:
            for usage in pod.containers:
                labels = [usage.stats.name, *_label(pod)]
                self._add(cpu, labels, usage.stats.cpu)
                self._add(memory, labels, usage.stats.memory)
                start.add_metric(labels, usage.stats.started_at_ns / 1e9)
        yield from (cpu, memory, start)

    def _collect_node(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "node_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            labels=(),
        )
        memory = GaugeMetricFamily(
            "node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", labels=()
        )
        usage = self._node.usage
        self._add(cpu, [], CpuUsage(timestamp_ns=0, usage_core_ns=usage.usage_core_ns))
        self._add(memory, [], usage.memory)
        yield from (cpu, memory)

    def _collect_pods(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "pod_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            labels=_POD,
        )
        memory = GaugeMetricFamily(
            "pod_memory_working_set_bytes", "[STABLE] Current working set of the pod in bytes", labels=_POD
        )
        for pod in self._pods:
            if pod.sandbox is not None:
                self._add(cpu, _label(pod), pod.sandbox.cpu)
                self._add(memory, _label(pod), pod.sandbox.memory)
        yield from (cpu, memory)

    def _add(
        self,
        family: CounterMetricFamily | GaugeMetricFamily,
        labels: list[str],
        usage: CpuUsage | MemoryUsage | None,
    ) -> None:
        if isinstance(usage, CpuUsage):
            family.add_metric(labels, usage.usage_core_ns / 1e9, timestamp=self._now_s)
        elif usage is not None:
            family.add_metric(labels, usage.working_set_bytes, timestamp=self._now_s)


def _label(pod: PodSeen) -> list[str]:
    return [pod.pod.metadata.name or "", pod.pod.metadata.namespace or ""]
