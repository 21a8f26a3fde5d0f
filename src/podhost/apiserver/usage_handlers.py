"""Handlers of ``metrics.k8s.io`` and ``podstats``: read-only, measured at the moment of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api import errors, kinds
from podhost.api.objects import read_pod_uid
from podhost.api.usage_kinds import NODE_METRICS, POD_METRICS
from podhost.apiserver import answers, negotiation
from podhost.apiserver.call import Call
from podhost.apiserver.negotiation import negotiate
from podhost.apiserver.selection import read_selection
from podhost.apiserver.usage_documents import build_node_metrics, build_pod_metrics, build_pod_stats
from podhost.cri.ids import PodUID
from podhost.cri.stats import ContainerUsage, UsageApi
from podhost.store import ObjectKey, Store

Obj = dict[str, Any]
_Build = Callable[[Mapping[str, Any], Sequence[ContainerUsage], datetime], Obj]


class UsageHandlers:
    """get and list of the kinds in :mod:`podhost.api.usage_kinds`."""

    def __init__(self, usage: UsageApi, store: Store, clock: Clock) -> None:
        self._usage = usage
        self._store = store
        self._clock = clock

    async def get(self, call: Call) -> web.StreamResponse:
        """404 as metrics-server has it: one text for an unknown object, another for one without metrics."""
        source = kinds.NODE if call.kind is NODE_METRICS else kinds.POD
        found = self._store.find(ObjectKey(source.resource_key, call.namespace, call.name))
        if found is None:
            raise errors.not_found(source.plural, call.name)
        documents = await self._measure(call, [found])
        if not documents:
            place = f"{call.namespace}/{call.name}" if call.namespace else call.name
            raise errors.not_found(call.kind.kind.lower(), place, call.kind.group)
        return await self._answer(call, documents, single=True)

    async def list(self, call: Call) -> web.StreamResponse:
        if call.flag("watch"):
            raise errors.method_not_allowed("watch", call.kind.plural, call.kind.group)
        selection = read_selection(call)
        source = kinds.NODE if call.kind is NODE_METRICS else kinds.POD
        objects, _ = self._store.list(source.resource_key, call.namespace or None)
        chosen = [each for each in objects if selection.matches(each)]
        return await self._answer(call, await self._measure(call, chosen), single=False)

    async def _measure(self, call: Call, objects: Sequence[Obj]) -> Sequence[Obj]:
        if not objects:
            return []
        if call.kind is NODE_METRICS:
            usage = await self._usage.observe_node()
            return [build_node_metrics(each, usage, self._clock.now()) for each in objects]
        if call.kind is POD_METRICS:
            objects = [pod for pod in objects if (pod.get("status") or {}).get("phase") == "Running"]
        build: _Build = build_pod_metrics if call.kind is POD_METRICS else build_pod_stats
        usages = await self._usage.observe_pods(objects)
        now = self._clock.now()
        documents = [build(pod, usages[PodUID(read_pod_uid(pod))], now) for pod in objects]
        return [document for document in documents if document["containers"]]

    async def _answer(self, call: Call, documents: Sequence[Obj], *, single: bool) -> web.StreamResponse:
        shape = negotiate(call.accept, call.text("includeObject"))
        now = self._clock.now()
        if single:
            answer = negotiation.shape_object(call.kind, documents[0], shape, now)
        else:
            answer = negotiation.shape_list(call.kind, documents, {}, shape, now)
        return await answers.answer(call, answer, as_yaml=shape.yaml)
