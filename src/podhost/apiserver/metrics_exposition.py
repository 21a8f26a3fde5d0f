"""The text of ``/metrics``, written by prometheus-client; imported with the first question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from podhost.api.kinds import STORED_KINDS
from podhost.apiserver.metrics import BUCKETS, REQUEST_LABELS, RequestCounts
from podhost.store import Store

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def render(counts: RequestCounts, store: Store) -> bytes:
    """Everything, as of now."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_RequestCollector(counts))
    registry.register(_StoreCollector(store))
    return bytes(generate_latest(registry))


class _RequestCollector(Collector):
    """Requests by what they ask for."""

    def __init__(self, counts: RequestCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "apiserver_request_total",
            "Counter of apiserver requests broken out for each verb, resource and HTTP response code.",
            labels=(*REQUEST_LABELS, "code"),
        )
        for labels, count in self._counts.requests.items():
            requests.add_metric(labels, count)
        yield requests
        durations = HistogramMetricFamily(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, resource and scope.",
            labels=REQUEST_LABELS,
        )
        for labels, taken in self._counts.durations.items():
            durations.add_metric(labels, _accumulate(taken.buckets), taken.sum_s)
        yield durations
        running = GaugeMetricFamily(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, resource and scope.",
            labels=REQUEST_LABELS,
        )
        for labels, count in self._counts.long_running.items():
            running.add_metric(labels, count)
        yield running


def _accumulate(buckets: Iterable[int]) -> list[tuple[str, float]]:
    """(upper end, requests up to it)."""
    total, found = 0, []
    for end, count in zip((*map(str, map(float, BUCKETS)), "+Inf"), buckets, strict=True):
        total += count
        found.append((end, float(total)))
    return found


class _StoreCollector(Collector):
    """Objects by resource, pods and containers of the node."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        objects = GaugeMetricFamily(
            "apiserver_resource_objects", "Number of stored objects at the time of last check.", labels=["resource"]
        )
        for resource in sorted({kind.resource_key for kind in STORED_KINDS}):
            objects.add_metric([resource], self._store.count(resource))
        yield objects
        pods, _ = self._store.list("pods")
        running = GaugeMetricFamily("kubelet_running_pods", "Number of pods that have a running pod sandbox")
        running.add_metric([], sum(_is_running(pod) for pod in pods))
        yield running
        containers = GaugeMetricFamily(
            "kubelet_running_containers", "Number of containers currently running", labels=["container_state"]
        )
        for state, count in sorted(_count_states(pods).items()):
            containers.add_metric([state], count)
        yield containers


def _is_running(pod: dict[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"


_STATES = {"running": "running", "waiting": "created", "terminated": "exited"}


def _count_states(pods: Iterable[dict[str, Any]]) -> Counter[str]:
    states: Counter[str] = Counter()
    for pod in pods:
        status = pod.get("status") or {}
        for part in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            for container in status.get(part) or ():
                states.update(_STATES[name] for name in container.get("state") or () if name in _STATES)
    return states
