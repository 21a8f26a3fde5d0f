"""Handlers of ``podchannels``: read-only, observed at the moment of the request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from itertools import chain, repeat
from typing import Any, Literal

from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api import errors
from podhost.apiserver import answers, negotiation
from podhost.apiserver.call import Call
from podhost.apiserver.negotiation import Representation, negotiate
from podhost.apiserver.selection import Selection, read_selection
from podhost.apiserver.watch_encoding import EventEncoder
from podhost.apiserver.watching import read_watch_request
from podhost.cri.channels import PodChannelsApi
from podhost.errors import NotFoundError
from podhost.store import Store

Obj = dict[str, Any]
_MAX_TRACE_S = 10.0
_VOLATILE = ("observedAt",)


class ChannelHandlers:
    """get, list and watch of PodChannels."""

    def __init__(self, channels: PodChannelsApi, store: Store, clock: Clock) -> None:
        self._channels = channels
        self._store = store
        self._clock = clock

    async def get(self, call: Call) -> web.StreamResponse:
        trace_s = _read_trace_s(call)
        try:
            obj = await self._channels.observe(call.namespace, call.name, trace_s=trace_s)
        except NotFoundError:
            raise errors.not_found(call.kind.plural, call.name, call.kind.group) from None
        shape = _negotiate(call)
        document = negotiation.shape_object(call.kind, obj, shape, self._clock.now())
        return await answers.answer(call, document, as_yaml=shape.yaml)

    async def list_or_watch(self, call: Call) -> web.StreamResponse:
        selection = read_selection(call)
        shape = _negotiate(call)
        if call.flag("watch"):
            return await self._watch(call, selection, shape)
        metadata = {"resourceVersion": str(self._store.current_rv())}
        items = await self._observe_chosen(call, selection)
        document = negotiation.shape_list(call.kind, items, metadata, shape, self._clock.now())
        return await answers.answer(call, document, as_yaml=shape.yaml)

    async def _observe_chosen(self, call: Call, selection: Selection) -> list[Obj]:
        """Only the pods that are asked for are looked at."""
        pods, _ = self._store.list("pods", call.namespace or None)
        if selection.everything:
            return await self._channels.observe_all(call.namespace or None)
        found = []
        for pod in pods:
            if selection.matches(pod):
                try:
                    found.append(await self._channels.observe(pod["metadata"]["namespace"], pod["metadata"]["name"]))
                except NotFoundError:
                    continue
        return found

    async def _watch(self, call: Call, selection: Selection, shape: Representation) -> web.StreamResponse:
        request = read_watch_request(call)
        encoder = EventEncoder(call.kind, shape, self._clock)
        first = chain((True,), repeat(False))
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        await response.prepare(call.request)
        feed = _Feed(self._channels, call.namespace, selection)
        try:
            async with asyncio.timeout(request.timeout_s):
                # What was there before is told only to those who have not listed it.
                for obj in await self._observe_chosen(call, selection):
                    feed.known[_place(obj)] = obj
                    if request.sends_objects:
                        await response.write(encoder.encode("ADDED", obj, columns=next(first)))
                if request.initial_events and request.bookmarks:
                    end = {"k8s.io/initial-events-end": "true"}
                    rv = self._store.current_rv()
                    await response.write(encoder.encode_bookmark(rv, end, columns=next(first)))
                async for event, obj in feed.follow():
                    await response.write(encoder.encode(event, obj, columns=next(first)))
        except (ConnectionError, TimeoutError):
            pass  # the client has gone, or its time is over
        finally:
            feed.close()
        return response


class _Feed:
    """Observes a pod again whenever something about it has changed, as long as somebody watches."""

    def __init__(self, channels: PodChannelsApi, namespace: str, selection: Selection) -> None:
        self.known: dict[tuple[str, str], Obj] = {}
        self._channels = channels
        self._namespace = namespace
        self._selection = selection
        self._dirty: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._undo = channels.subscribe(self._on_change)

    def close(self) -> None:
        self._undo()

    def _on_change(self, namespace: str, name: str) -> None:
        if self._namespace in ("", namespace):
            self._dirty[namespace, name] = None
            self._wake.set()

    async def follow(self) -> AsyncIterator[tuple[Literal["ADDED", "MODIFIED", "DELETED"], Obj]]:
        """Changes of content; what only looks newer is not told."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            places, self._dirty = tuple(self._dirty), {}
            for place in places:
                old = self.known.get(place)
                new = await self._observe(place)
                if new is None:
                    if old is not None:
                        yield "DELETED", self.known.pop(place)
                elif old is None or _content(new) != _content(old):
                    self.known[place] = new
                    yield ("ADDED" if old is None else "MODIFIED"), new

    async def _observe(self, place: tuple[str, str]) -> Obj | None:
        try:
            obj = await self._channels.observe(*place)
        except NotFoundError:
            return None
        return obj if self._selection.matches(obj) else None


def _read_trace_s(call: Call) -> float:
    """``?traceSeconds=``: how long to watch for what a single look cannot see."""
    text = call.text("traceSeconds", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MAX_TRACE_S:
        raise errors.bad_request(f"traceSeconds must be a number from 0 to {_MAX_TRACE_S:g}, not {text!r}")
    return seconds


def _negotiate(call: Call) -> Representation:
    return negotiate(call.accept, call.text("includeObject"))


def _place(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _content(obj: Obj) -> Obj:
    return {name: value for name, value in obj.items() if name not in _VOLATILE and name != "metadata"}
