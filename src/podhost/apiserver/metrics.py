"""``/metrics``: requests, watches, objects, pods, the process, under the names that Kubernetes' dashboards ask for.

Counting is a few dictionaries; prometheus-client, which writes them down, is imported when somebody asks.
"""

from __future__ import annotations

import asyncio
import importlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from podhost.apiserver.call import Call
from podhost.apiserver.routing import Route
from podhost.store import Store

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
"""Upper ends in seconds; there is one more bucket for all that took longer."""
REQUEST_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")

Labels = tuple[str, ...]


@dataclass(slots=True)
class Durations:
    """How long requests of one kind took."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class RequestCounts:
    """What has been counted since the start."""

    requests: Counter[Labels] = field(default_factory=Counter)
    """By the labels and the code of the answer."""
    durations: dict[Labels, Durations] = field(default_factory=dict)
    long_running: Counter[Labels] = field(default_factory=Counter)
    """Those that go on now."""


class Metrics:
    """Counts what the server does; what can be read from the store is read when somebody asks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.counts = RequestCounts()

    def on_request(self, route: Route | None, verb: str, code: int, seconds: float) -> None:
        """A request that has ended; ``route`` is ``None`` when no path was found."""
        labels = _labels(route, verb)
        self.counts.requests[(*labels, str(code))] += 1
        durations = self.counts.durations.get(labels)
        if durations is None:
            durations = self.counts.durations[labels] = Durations()
        durations.add(seconds)

    @contextmanager
    def long_running(self, route: Route, verb: str) -> Iterator[None]:
        labels = _labels(route, verb)
        self.counts.long_running[labels] += 1
        try:
            yield
        finally:
            self.counts.long_running[labels] -= 1

    async def answer(self, call: Call) -> web.StreamResponse:
        exposition = await asyncio.to_thread(importlib.import_module, "podhost.apiserver.metrics_exposition")
        return web.Response(
            body=exposition.render(self.counts, self._store), headers={"Content-Type": exposition.CONTENT_TYPE}
        )


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
