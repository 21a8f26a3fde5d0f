"""The paths of the kubelet's own HTTP server, reached through the API server: ``/api/v1/nodes/NAME/proxy/…``."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from podhost.cri.node import NodeAnswer
from podhost.kubelet.configuration import build_configuration
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.node_stats import NodeStats
from podhost.kubelet.stats_summary import build_summary

_Handler = Callable[[Mapping[str, str]], Awaitable[NodeAnswer]]
_TRUE = ("1", "t", "T", "TRUE", "true", "True")


class KubeletHttp:
    """Implements :class:`podhost.cri.node.NodeHttpApi`."""

    def __init__(self, kubelet: Kubelet, stats: NodeStats) -> None:
        self._kubelet = kubelet
        self._stats = stats
        self._handlers: dict[str, _Handler] = {
            "/configz": self._configz,
            "/healthz": self._healthz,
            "/metrics/resource": self._metrics,
            "/pods": self._pods,
            "/stats/summary": self._summary,
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """See :class:`podhost.cri.node.NodeHttpApi`."""
        return tuple(self._handlers)

    async def get(self, path: str, query: Mapping[str, str]) -> NodeAnswer | None:
        """See :class:`podhost.cri.node.NodeHttpApi`."""
        handler = self._handlers.get(path.rstrip("/"))
        return None if handler is None else await handler(query)

    async def _summary(self, query: Mapping[str, str]) -> NodeAnswer:
        is_short = query.get("only_cpu_and_memory", "") in _TRUE
        seen = await self._stats.measure(with_details=not is_short)
        # As the kubelet prints it, for people.
        return _build_json(build_summary(seen.node, seen.details, seen.pods, seen.now_ns), indent=1)

    async def _metrics(self, _query: Mapping[str, str]) -> NodeAnswer:
        exposition = await asyncio.to_thread(importlib.import_module, "podhost.kubelet.resource_metrics")
        seen = await self._stats.measure(with_details=False)
        return NodeAnswer(exposition.CONTENT_TYPE, exposition.render(seen.node, seen.pods, seen.now_ns))

    async def _pods(self, _query: Mapping[str, str]) -> NodeAnswer:
        items = [worker.document for worker in self._kubelet.list_workers()]
        return _build_json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _healthz(self, _query: Mapping[str, str]) -> NodeAnswer:
        return NodeAnswer("text/plain; charset=utf-8", b"ok")

    async def _configz(self, _query: Mapping[str, str]) -> NodeAnswer:
        return _build_json({"kubeletconfig": build_configuration(self._kubelet.context.settings)})


def _build_json(document: Mapping[str, Any], indent: int | None = None) -> NodeAnswer:
    return NodeAnswer("application/json", json.dumps(document, indent=indent).encode())
