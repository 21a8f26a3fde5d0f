"""Streams of events to clients: initial state, changes, bookmarks, errors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api import errors
from podhost.api.kind import Kind
from podhost.apiserver import answers, negotiation
from podhost.apiserver.call import Call
from podhost.apiserver.listing import check_version, validate_watch
from podhost.apiserver.negotiation import Representation, View
from podhost.apiserver.selection import Selection
from podhost.apiserver.watch_filter import filter_event
from podhost.store import GoneError, ObjectStore, WatchEvent
from podhost.store.views import ObjectWatch

Obj = dict[str, Any]

_MIN_TIMEOUT_S = 1800
_MAX_TIMEOUT_S = 3600
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
_BATCH_BYTES = 64 << 10
_FREE_BYTES = 16 << 10
"""Less than what a transport takes without waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """Parameters of a watch."""

    since_rv: int | None
    """``None``: begin with the present objects, unless ``initial_events`` is false."""
    bookmarks: bool
    initial_events: bool | None
    """``sendInitialEvents``; ``None`` when the client did not say."""
    timeout_s: float

    @property
    def sends_objects(self) -> bool:
        return self.initial_events is True or (self.initial_events is None and self.since_rv is None)


def read_watch_request(call: Call, current_rv: int) -> WatchRequest:
    """Raises ApiError (400, 422) for parameters that cannot be, and when the version lies in the future (504)."""
    version, match = call.text("resourceVersion"), call.text("resourceVersionMatch")
    initial_events = call.optional_flag("sendInitialEvents")
    problems = validate_watch(match, call.text("continue"), initial_events=initial_events)
    if problems:
        raise errors.invalid("ListOptions", "meta.k8s.io", "", problems)
    problem = check_version(version) if version else None
    if problem is not None:
        raise errors.invalid(call.kind.plural, call.kind.group, "", [problem])
    since_rv = None if version in ("", "0") else int(version)
    if initial_events and since_rv is not None and since_rv > current_rv:
        raise errors.too_large_resource_version(since_rv, current_rv)
    timeout_s = call.integer("timeoutSeconds")
    if not timeout_s or timeout_s < 0:
        timeout_s = random.randint(_MIN_TIMEOUT_S, _MAX_TIMEOUT_S)
    return WatchRequest(
        since_rv=since_rv,
        bookmarks=call.flag("allowWatchBookmarks"),
        initial_events=initial_events,
        timeout_s=timeout_s,
    )


class EventEncoder:
    """Events of one watch as lines of JSON, in the view that the client wants."""

    def __init__(self, kind: Kind, representation: Representation, clock: Clock) -> None:
        self._kind = kind
        self._representation = representation
        self._clock = clock
        self._columns_sent = False

    def encode(self, event_type: str, obj: Obj) -> bytes:
        """A change."""
        return _line(event_type, self._shape(obj, with_columns=self._take_columns()))

    def encode_shared(self, event_type: str, obj: Obj, renderings: dict[Any, bytes]) -> bytes:
        """A change that others may have encoded already, in the same form."""
        with_columns = self._take_columns()
        form = (event_type, self._kind.group_version, self._representation, with_columns)
        line = renderings.get(form)
        if line is None:
            line = renderings[form] = _line(event_type, self._shape(obj, with_columns=with_columns))
        return line

    def encode_bookmark(self, rv: int, annotations: Obj | None = None) -> bytes:
        """Progress: everything up to ``rv`` has been sent."""
        metadata: Obj = {"resourceVersion": str(rv), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        bookmark = {"kind": self._kind.kind, "apiVersion": self._kind.group_version, "metadata": metadata}
        if self._representation.view is View.TABLE:
            with_columns = self._take_columns()
            bookmark = negotiation.build_table_bookmark(self._kind, bookmark, with_columns=with_columns)
        elif self._representation.view is View.METADATA:
            bookmark = negotiation.build_metadata_only(bookmark)
        return _line("BOOKMARK", bookmark)

    def _shape(self, obj: Obj, *, with_columns: bool) -> Obj:
        match self._representation.view:
            case View.OBJECT:
                return obj
            case View.METADATA:
                return negotiation.build_metadata_only(obj)
            case View.TABLE:
                return negotiation.build_table(
                    self._kind,
                    [obj],
                    {"resourceVersion": obj["metadata"]["resourceVersion"]},
                    self._clock.now(),
                    include_object=self._representation.include_object,
                    with_columns=with_columns,
                )

    def _take_columns(self) -> bool:
        first, self._columns_sent = not self._columns_sent, True
        return first


class WatchStream:
    """One watch of one client."""

    def __init__(
        self,
        call: Call,
        store: ObjectStore,
        request: WatchRequest,
        selection: Selection,
        encoder: EventEncoder,
        *,
        write_timeout_s: float,
    ) -> None:
        self._call = call
        self._store = store
        self._request = request
        self._selection = selection
        self._encoder = encoder
        self._write_timeout_s = write_timeout_s
        self._response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )

    async def run(self) -> web.StreamResponse:
        """Serve until the timeout, the client's end, or the end of the history."""
        kind, namespace = self._call.kind, self._call.namespace or None
        since_rv = None if self._request.sends_objects else self._request.since_rv
        answers.add_warnings(self._response, self._call.warnings)
        try:
            watch = self._store.watch(kind.resource_key, namespace, since_rv, progress=self._request.bookmarks)
        except GoneError as error:
            await self._response.prepare(self._call.request)
            return await self._end(_line("ERROR", errors.expired(str(error)).status))
        initial = self._initial_lines(namespace) if self._request.sends_objects else ()
        timer = asyncio.get_running_loop().call_later(self._request.timeout_s, watch.close)
        try:
            await self._response.prepare(self._call.request)
            await self._send_all(initial)
            return await self._follow(watch)
        except (ConnectionError, TimeoutError):
            return self._response  # the client has gone, or takes nothing: there is nobody to tell
        finally:
            timer.cancel()
            watch.close()

    def _initial_lines(self, namespace: str | None) -> Iterable[bytes]:
        items, rv = self._store.list(self._call.kind.resource_key, namespace)
        chosen = [item for item in items if self._selection.matches(item)]

        def lines() -> Iterable[bytes]:
            for item in chosen:
                yield self._encoder.encode("ADDED", item)
            if self._request.initial_events and self._request.bookmarks:
                yield self._encoder.encode_bookmark(rv, _INITIAL_EVENTS_END)

        return lines()

    async def _follow(self, watch: ObjectWatch) -> web.StreamResponse:
        try:
            while batch := await watch.next_batch():
                data = b"".join(map(self._encode, batch))
                if data:
                    await self._write(data)
        except GoneError as error:
            return await self._end(_line("ERROR", errors.expired(str(error)).status))
        last = self._encoder.encode_bookmark(self._store.current_rv()) if self._may_bookmark(watch) else b""
        return await self._end(last)

    def _encode(self, event: WatchEvent) -> bytes:
        """Nothing for an event outside the selection."""
        if event.type == "BOOKMARK":
            return self._encoder.encode_bookmark(event.rv)
        if self._selection.everything:
            return self._encoder.encode_shared(event.type, event.object, event.renderings)
        seen = filter_event(event, self._selection.matches)
        return b"" if seen is None else self._encoder.encode_shared(*seen, event.renderings)

    def _may_bookmark(self, watch: ObjectWatch) -> bool:
        return self._request.bookmarks and watch.idle

    async def _send_all(self, lines: Iterable[bytes]) -> None:
        batch = bytearray()
        for line in lines:
            batch += line
            if len(batch) > _BATCH_BYTES:
                await self._write(bytes(batch))
                batch.clear()
        if batch:
            await self._write(bytes(batch))

    async def _write(self, data: bytes) -> None:
        transport = self._call.request.transport
        if transport is not None and len(data) < _FREE_BYTES and transport.get_write_buffer_size() == 0:
            # The client takes what it gets: this write waits for nothing, and needs no timer.
            await self._response.write(data)
            return
        async with asyncio.timeout(self._write_timeout_s):
            await self._response.write(data)

    async def _end(self, last: bytes) -> web.StreamResponse:
        if last:
            await self._write(last)
        await self._response.write_eof()
        return self._response


def _line(event_type: str, obj: Obj) -> bytes:
    return msgspec.json.encode({"type": event_type, "object": obj}) + b"\n"
