"""Kinds that are measured when read, not stored: ``metrics.k8s.io`` as of metrics-server, and podhost's PodStats.

PodStats says more of the same (bytes read and written, processes), for ``podhost top``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from podhost.api.columns import Column
from podhost.api.kind import Kind
from podhost.api.objects import Object
from podhost.api.quantity import format_quantity, parse_quantity

_NAME = Column("Name", format="name", description="Name of the resource")
_USAGE = (
    _NAME,
    Column("cpu", format="quantity"),
    Column("memory", format="quantity"),
    Column("Window", format="duration"),
)
_STATS = (
    Column("Name", format="name", description="Name of the pod."),
    Column("CPU", format="quantity", description="Processors in use, an average over the window."),
    Column("Memory", format="quantity", description="Working set."),
    Column("Read", format="quantity", description="Bytes a second from block devices."),
    Column("Written", format="quantity", description="Bytes a second to block devices."),
    Column("Pids", type="integer", description="Processes and threads."),
    Column("Window", format="duration", description="Time over which averages were taken."),
    Column("Containers", description="Each container's processors and memory.", priority=1),
)


def sum_usage(usages: Iterable[Mapping[str, str]], name: str) -> str:
    """The sum of a resource in canonical spelling."""
    total = sum((parse_quantity(usage[name]) for usage in usages if name in usage), Fraction(0))
    return format_quantity(total, "binary" if name == "memory" else "decimal")


def pod_metrics_row(obj: Object, _now: datetime) -> list[Any]:
    usages = [container["usage"] for container in obj["containers"]]
    return [obj["metadata"]["name"], sum_usage(usages, "cpu"), sum_usage(usages, "memory"), obj["window"]]


def node_metrics_row(obj: Object, _now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj["usage"]["cpu"], obj["usage"]["memory"], obj["window"]]


def pod_stats_row(obj: Object, _now: datetime) -> list[Any]:
    containers = obj["containers"]
    usages = [container["usage"] for container in containers]
    streams = [container["io"] for container in containers if "io" in container]
    return [
        obj["metadata"]["name"],
        _round_cpu(sum_usage(usages, "cpu")),
        sum_usage(usages, "memory"),
        _round_bytes(sum(each["readBytesPerSecond"] for each in streams)),
        _round_bytes(sum(each["writtenBytesPerSecond"] for each in streams)),
        sum(container.get("pids", 0) for container in containers),
        obj["window"],
        ", ".join(_tell_container(container) for container in containers) or "<none>",
    ]


def _round_cpu(quantity: str) -> str:
    """Thousandths are fine enough for eyes."""
    return format_quantity(Fraction(round(parse_quantity(quantity) * 1000), 1000))


def _round_bytes(count: int) -> str:
    return format_quantity(count - count % 1024 if count > 1024 else count, "binary")


def _tell_container(container: Mapping[str, Any]) -> str:
    usage = container["usage"]
    return f"{container['name']} {_round_cpu(usage.get('cpu', '0'))} {usage.get('memory', '0')}"


POD_METRICS = Kind(
    kind="PodMetrics",
    group="metrics.k8s.io",
    version="v1beta1",
    plural="pods",
    singular="",
    schema="io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
    verbs=("get", "list"),
    columns=_USAGE,
    row=pod_metrics_row,
)
NODE_METRICS = Kind(
    kind="NodeMetrics",
    group="metrics.k8s.io",
    version="v1beta1",
    plural="nodes",
    singular="",
    namespaced=False,
    schema="io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
    verbs=("get", "list"),
    columns=_USAGE,
    row=node_metrics_row,
)
POD_STATS = Kind(
    kind="PodStats",
    group="podhost.dev",
    version="v1alpha1",
    plural="podstats",
    singular="podstats",
    schema="dev.podhost.v1alpha1.PodStats",
    short_names=("pst",),
    verbs=("get", "list"),
    columns=_STATS,
    row=pod_stats_row,
)
USAGE_KINDS = (POD_METRICS, NODE_METRICS, POD_STATS)
