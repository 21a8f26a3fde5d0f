"""PodMetrics, NodeMetrics and PodStats out of what was measured.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from podhost.api.quantity import format_quantity
from podhost.api.time import format_micro_time, format_time
from podhost.api.usage_kinds import NODE_METRICS, POD_METRICS, POD_STATS
from podhost.cri.stats import ContainerUsage, NodeUsage

Obj = dict[str, Any]
_NANO = 10**9


def build_pod_metrics(pod: Mapping[str, Any], usages: Sequence[ContainerUsage], now: datetime) -> Obj:
    """As metrics-server answers; containers of which the host counts nothing are left out."""
    measured = [each for each in usages if each.rates is not None and each.stats.memory is not None]
    return {
        "kind": POD_METRICS.kind,
        "apiVersion": POD_METRICS.group_version,
        "metadata": _build_metadata(pod["metadata"], now),
        "timestamp": format_time(now),
        "window": _format_window(_longest_window_s(measured)),
        "containers": [{"name": each.stats.name, "usage": _build_usage(each)} for each in measured],
    }


def build_node_metrics(node: Mapping[str, Any], usage: NodeUsage, now: datetime) -> Obj:
    """As metrics-server answers."""
    return {
        "kind": NODE_METRICS.kind,
        "apiVersion": NODE_METRICS.group_version,
        "metadata": _build_metadata(node["metadata"], now),
        "timestamp": format_time(usage.timestamp_ns),
        "window": _format_window(usage.window_s),
        "usage": {
            "cpu": format_quantity(Fraction(usage.nano_cores, _NANO)),
            "memory": format_quantity(usage.memory.working_set_bytes, "binary"),
        },
    }


def build_pod_stats(pod: Mapping[str, Any], usages: Sequence[ContainerUsage], now: datetime) -> Obj:
    """podhost's own; what the host does not count is absent."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "kind": POD_STATS.kind,
        "apiVersion": POD_STATS.group_version,
        "metadata": _build_metadata(metadata, now) | {"uid": metadata["uid"], "ownerReferences": [owner]},
        "timestamp": format_micro_time(now),
        "window": _format_window(_longest_window_s(usages)),
        "containers": [_build_container(each) for each in usages],
    }


def _build_container(each: ContainerUsage) -> Obj:
    stats, rates = each.stats, each.rates
    found: Obj = {"name": stats.name, "usage": _build_usage(each)}
    if stats.memory is not None:
        found["memory"] = {
            "usageBytes": stats.memory.usage_bytes,
            "workingSetBytes": stats.memory.working_set_bytes,
            "rssBytes": stats.memory.rss_bytes,
            "pageFaults": stats.memory.page_faults,
            "majorPageFaults": stats.memory.major_page_faults,
        }
    if stats.io is not None:
        found["io"] = {
            "readBytes": stats.io.read_bytes,
            "writtenBytes": stats.io.written_bytes,
            "readBytesPerSecond": round(rates.read_bytes_per_s) if rates else 0,
            "writtenBytesPerSecond": round(rates.written_bytes_per_s) if rates else 0,
        }
    if stats.process_count is not None:
        found["pids"] = stats.process_count
    return found


def _build_usage(each: ContainerUsage) -> dict[str, str]:
    usage = {}
    if each.rates is not None:
        usage["cpu"] = format_quantity(Fraction(each.rates.nano_cores, _NANO))
    if each.stats.memory is not None:
        usage["memory"] = format_quantity(each.stats.memory.working_set_bytes, "binary")
    return usage


def _build_metadata(source: Mapping[str, Any], now: datetime) -> Obj:
    lent = {name: source[name] for name in ("namespace", "labels") if source.get(name)}
    return {"name": source["name"], **lent, "creationTimestamp": format_time(now)}


def _longest_window_s(usages: Sequence[ContainerUsage]) -> float:
    return max((each.rates.window_s for each in usages if each.rates is not None), default=0.0)


def _format_window(seconds: float) -> str:
    """A Go duration to the millisecond."""
    whole = round(seconds, 3)
    minutes, rest = divmod(whole, 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(minutes)}m{text}" if minutes else text
