"""Names of verbs in metrics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from podhost.aiokit.clock import SystemClock
from podhost.api.kinds import POD
from podhost.apiserver.call import Call
from podhost.apiserver.metrics import Durations, Metrics, compute_verb
from podhost.apiserver.metrics_exposition import _accumulate, render
from podhost.apiserver.routing import Route
from podhost.store import ObjectKey, Store


async def handler(_: Call) -> web.StreamResponse:
    raise NotImplementedError


def route(verb: str, subresource: str = "") -> Route:
    return Route(method="GET", pattern="/", verb=verb, handler=handler, kind=POD, subresource=subresource)


@pytest.mark.parametrize(
    ("method", "route", "watching", "applying", "verb"),
    [
        ("GET", None, False, False, "GET"),
        ("GET", route("get"), False, False, "GET"),
        ("GET", route("list"), False, False, "LIST"),
        ("GET", route("list"), True, False, "WATCH"),
        ("PATCH", route("patch"), False, True, "APPLY"),
        ("DELETE", route("deletecollection"), False, False, "DELETECOLLECTION"),
        ("POST", route("create", "exec"), False, False, "CONNECT"),
    ],
)
def test_verbs(method: str, route: Route | None, watching: bool, applying: bool, verb: str) -> None:
    assert compute_verb(method, route, watching=watching, applying=applying) == verb


def test_a_duration_counts_in_its_bucket_and_in_all_that_are_wider() -> None:
    durations = Durations()
    for seconds in (0.005, 0.3, 61.0):
        durations.add(seconds)
    assert durations.sum_s == pytest.approx(61.305)
    shown = dict(_accumulate(durations.buckets))
    assert (shown["0.005"], shown["0.2"], shown["0.4"], shown["60.0"], shown["+Inf"]) == (1, 1, 2, 2, 3)


def test_what_was_counted_is_written_for_prometheus(tmp_path: Path) -> None:
    store = Store(tmp_path / "objects.db", SystemClock())
    store.create(ObjectKey("pods", "ns", "p"), {"metadata": {"name": "p"}, "status": {"phase": "Running"}})
    metrics = Metrics(store)
    metrics.on_request(None, "GET", 404, 0.01)
    metrics.on_request(None, "GET", 404, 0.02)
    text = render(metrics.counts, store).decode()
    labels = 'group="",resource="",scope="",subresource="",verb="GET",version=""'
    found = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in text.splitlines() if line[0] != "#"}
    by_labels = {
        (name.partition("{")[0], frozenset(name.partition("{")[2].rstrip("}").split(","))): value
        for name, value in found.items()
    }
    assert by_labels["apiserver_request_total", frozenset((*labels.split(","), 'code="404"'))] == "2.0"
    assert by_labels["apiserver_request_duration_seconds_count", frozenset(labels.split(","))] == "2.0"
    assert found["kubelet_running_pods"] == "1.0"
    assert found['apiserver_resource_objects{resource="pods"}'] == "1.0"
    assert "process_resident_memory_bytes" in found
    store.close()


def test_nothing_of_prometheus_is_loaded_before_somebody_asks() -> None:
    program = "import sys, podhost.apiserver.server; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
