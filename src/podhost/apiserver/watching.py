"""Streams of events to clients: initial state, changes, bookmarks, errors."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http import HttpVersion11

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.apiserver import answers
from podhost.apiserver.call import Call
from podhost.apiserver.listing import check_version, validate_watch
from podhost.apiserver.negotiation import View
from podhost.apiserver.selection import Selection
from podhost.apiserver.watch_encoding import Form, Frame, FrameEncoder, build_frames, encode_line
from podhost.apiserver.watch_feeds import FeedKey, Follower, WatchFeeds
from podhost.store import GoneError, ObjectStore
from podhost.store.views import ObjectWatch

Obj = dict[str, Any]

_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


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


def read_watch_request(call: Call) -> WatchRequest:
    """Raises ApiError (400, 422) for parameters that cannot be."""
    version, match = call.text("resourceVersion"), call.text("resourceVersionMatch")
    initial_events = call.optional_flag("sendInitialEvents")
    problems = validate_watch(match, call.text("continue"), initial_events=initial_events)
    if problems:
        raise errors.invalid("ListOptions", "meta.k8s.io", "", problems)
    problem = check_version(version) if version else None
    if problem is not None:
        raise errors.invalid(call.kind.plural, call.kind.group, "", [problem])
    since_rv = None if version in ("", "0") else int(version)
    if initial_events is None and since_rv is None:
        initial_events = True  # as kube-apiserver takes it, so that the end of the objects is told
    timeout_s: float | None = call.integer("timeoutSeconds")
    if not timeout_s or timeout_s < 0:
        timeout_s = call.min_watch_s * random.uniform(1.0, 2.0)
    return WatchRequest(
        since_rv=since_rv,
        bookmarks=call.flag("allowWatchBookmarks"),
        initial_events=initial_events,
        timeout_s=timeout_s,
    )


class WatchStream:
    """One watch of one client."""

    def __init__(
        self,
        call: Call,
        store: ObjectStore,
        feeds: WatchFeeds,
        request: WatchRequest,
        key: FeedKey,
        encoder: FrameEncoder,
        *,
        write_timeout_s: float,
    ) -> None:
        self._call = call
        self._store = store
        self._feeds = feeds
        self._request = request
        self._key = key
        self._encoder = encoder
        self._write_timeout_s = write_timeout_s
        self._response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )

    async def run(self, selection: Selection) -> web.StreamResponse:
        """Serve until the timeout, the client's end, or the end of the history."""
        answers.add_warnings(self._response, self._call.warnings)
        rv = self._store.current_rv()
        initial: Sequence[Obj] = ()
        if self._request.sends_objects:
            items, rv = self._store.list(self._key.resource, self._key.namespace)
            initial = items if selection.everything else [item for item in items if selection.matches(item)]
        elif self._request.since_rv is not None:
            rv = self._request.since_rv
        watch = self._try_open(rv)
        try:
            await self._response.prepare(self._call.request)
            follower = self._build_follower(rv)
            timer = asyncio.get_running_loop().call_later(self._request.timeout_s, follower.end)
            try:
                await self._serve(follower, initial, watch)
            finally:
                timer.cancel()
            await self._response.write_eof()
        except ConnectionError:
            pass  # the client has gone: there is nobody to tell
        except TimeoutError:
            # It takes nothing, neither the end of the answer; the HTTP server would wait for it for ever.
            if self._call.request.transport is not None:
                self._call.request.transport.abort()
        finally:
            if watch is not None:
                watch.close()
        return self._response

    async def _serve(self, follower: Follower, initial: Sequence[Obj], watch: ObjectWatch | None) -> None:
        """Once the parameters are understood, errors are events, as in Kubernetes: the answer has begun."""
        try:
            self._check_reached()
            await self._send(follower, self._initial_frames(initial, follower))
            await self._follow(follower, watch or self._open(follower.rv))
        except GoneError as error:
            await self._send_error(follower, errors.expired(str(error)))
        except ApiError as error:
            await self._send_error(follower, error)

    def _check_reached(self) -> None:
        """Objects of a version that is not there yet cannot be sent.  Raises ApiError (504)."""
        wanted, current = self._request.since_rv, self._store.current_rv()
        if self._request.sends_objects and wanted is not None and wanted > current:
            raise errors.too_large_resource_version(wanted, current)

    async def _send_error(self, follower: Follower, error: ApiError) -> None:
        line = encode_line("ERROR", error.status)
        await self._send(follower, build_frames([(follower.rv, line)], chunked=follower.form.chunked))

    async def _follow(self, follower: Follower, watch: ObjectWatch) -> None:
        """See :mod:`podhost.apiserver.watch_feeds` for the two states of a watcher."""
        while True:
            with contextlib.closing(watch):
                caught_up = await self._catch_up(follower, watch)
            if caught_up:
                await self._stay_in_feed(follower)
            if follower.ended:
                break
            await self._drain()
            watch = self._open(follower.rv)
        if self._request.bookmarks:
            await self._send(follower, [self._encoder.encode_bookmark(follower.rv, follower.form)])

    async def _catch_up(self, follower: Follower, watch: ObjectWatch) -> bool:
        """Whether it has everything now, and nothing can have happened since."""
        while not follower.ended:
            try:
                batch = await watch.backlog()
            except GoneError:
                return False  # more has happened meanwhile than a watch keeps, but the history may still have it
            if not batch:
                follower.rv = self._store.current_rv()
                return True
            await self._send(follower, self._encoder.encode_events(batch, follower.form))
            follower.rv = batch[-1].rv
        return False

    async def _stay_in_feed(self, follower: Follower) -> None:
        leave = self._feeds.join(self._key, follower, self._encoder)
        try:
            await follower.wait_woken()
        finally:
            leave()

    def _try_open(self, rv: int) -> ObjectWatch | None:
        """``None``: the history does not go back to it; the client is told in the answer's body."""
        try:
            return self._open(rv)
        except GoneError:
            return None

    def _open(self, rv: int) -> ObjectWatch:
        return self._store.watch(self._key.resource, self._key.namespace, rv, progress=self._request.bookmarks)

    def _build_follower(self, rv: int) -> Follower:
        request = self._call.request
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        # What the connection does not take at once makes the watcher one that is behind.
        request.transport.set_write_buffer_limits(high=1)
        chunked = request.version >= HttpVersion11
        columns = self._key.representation.view is View.TABLE
        return Follower(request.transport, Form(self._request.bookmarks, columns=columns, chunked=chunked), rv)

    def _initial_frames(self, objects: Sequence[Obj], follower: Follower) -> Iterable[Frame]:
        ends = self._request.initial_events and self._request.bookmarks
        return self._encoder.encode_objects(objects, follower.rv, follower.form, _INITIAL_EVENTS_END if ends else None)

    async def _send(self, follower: Follower, frames: Iterable[Frame]) -> None:
        for frame in frames:
            follower.write(frame)
            if follower.is_full:
                await self._drain()

    async def _drain(self) -> None:
        """Wait until the client has taken what was written.  Raises TimeoutError when it takes nothing."""
        async with asyncio.timeout(self._write_timeout_s):
            await self._call.request.writer.drain()
