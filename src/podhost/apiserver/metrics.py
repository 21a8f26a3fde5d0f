"""``/metrics``: requests, watches, objects, pods, the process, under the names that Kubernetes' dashboards ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from podhost.api.kinds import STORED_KINDS
from podhost.apiserver.call import Call
from podhost.apiserver.routing import Route
from podhost.store import Store

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_REQUEST_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Metrics:
    """Counts what the server does; what can be read from the store is read when somebody asks."""

    def __init__(self, store: Store) -> None:
        self._registry = CollectorRegistry()
        self._requests = CounterMetric(
            "apiserver_request_total",
            "Counter of apiserver requests broken out for each verb, resource and HTTP response code.",
            (*_REQUEST_LABELS, "code"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, resource and scope.",
            _REQUEST_LABELS,
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self._long_running = Gauge(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, resource and scope.",
            _REQUEST_LABELS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_StoreCollector(store))

    def on_request(self, route: Route | None, verb: str, code: int, seconds: float) -> None:
        """A request that has ended; ``route`` is ``None`` when no path was found."""
        labels = _labels(route, verb)
        self._requests.labels(*labels, str(code)).inc()
        self._durations.labels(*labels).observe(seconds)

    @contextmanager
    def long_running(self, route: Route, verb: str) -> Iterator[None]:
        gauge = self._long_running.labels(*_labels(route, verb))
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    async def answer(self, call: Call) -> web.StreamResponse:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def compute_verb(method: str, route: Route | None, *, watching: bool, applying: bool) -> str:
    """The verb as Kubernetes' metrics name it: that of HTTP, but LIST, WATCH, APPLY, CONNECT, DELETECOLLECTION."""
    if route is None or route.kind is None:
        return method
    if watching:
        return "WATCH"
    if applying:
        return "APPLY"
    if route.subresource in ("exec", "attach", "portforward", "proxy", "log"):
        return "CONNECT"
    return {"list": "LIST", "deletecollection": "DELETECOLLECTION"}.get(route.verb, method)


def _labels(route: Route | None, verb: str) -> tuple[str, ...]:
    kind = None if route is None else route.kind
    if route is None or kind is None:
        return verb, "", "", "", "", ""
    return verb, kind.group, kind.version, kind.plural, route.subresource, _scope(route.pattern)


def _scope(pattern: str) -> str:
    if "{name}" in pattern:
        return "resource"
    return "namespace" if "{namespace}" in pattern else "cluster"


class _StoreCollector(Collector):
    """Objects by resource, pods and containers of the node."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        objects = GaugeMetricFamily(
            "apiserver_resource_objects", "Number of stored objects at the time of last check.", labels=["resource"]
        )
        for resource in sorted({kind.resource_key for kind in STORED_KINDS}):
            objects.add_metric([resource], len(self._store.list(resource)[0]))
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
