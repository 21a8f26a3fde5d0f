"""What many watchers see alike is encoded once and written to all of them in one go.

Watchers of the same resource, selection and representation share a *feed*: one watch of the store, one task.  A
watcher is in its feed while it has everything and takes what it gets:

    behind ──has all──> in the feed ──its connection is full──> behind ──takes nothing for a minute──> dropped

One that is behind reads the history at its own pace, so that what is kept for it is one frame; nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from podhost.aiokit.tasks import Tasks
from podhost.api.selectors import FieldSelector, Selector
from podhost.apiserver.negotiation import Representation
from podhost.apiserver.watch_encoding import Form, Frame, FrameEncoder
from podhost.store import GoneError, ObjectStore, WatchEvent
from podhost.store.views import ObjectWatch

_TURN = 256
"""Watchers that are written to before other requests get a turn."""
BOOKMARK_INTERVAL_S = 60.0
"""How often watchers that want bookmarks get one while nothing happens, as from kube-apiserver."""


class FeedKey(NamedTuple):
    """What watchers of one feed have in common."""

    resource: str
    namespace: str | None
    labels: Selector | None
    fields: FieldSelector | None
    representation: Representation


class Follower:
    """One watcher: what it has, what it wants, and its connection."""

    __slots__ = ("_transport", "_woken", "ended", "form", "rv")

    def __init__(self, transport: asyncio.Transport, form: Form, rv: int) -> None:
        self._transport = transport
        self._woken = asyncio.Event()
        self.form = form
        self.rv = rv
        """It has every change up to this version."""
        self.ended = False
        """Its time is over."""

    def take(self, frames: Iterable[Frame]) -> bool:
        """Write without waiting, and stop as soon as the connection does not take everything at once."""
        for frame in frames:
            if self._transport.is_closing():
                return False
            self.write(frame)
            if self.is_full:
                return False
        return True

    def write(self, frame: Frame) -> None:
        """Raises ConnectionError: the client has gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(frame.data)
        self.rv = frame.rv
        if self.form.columns:
            self.form = self.form._replace(columns=False)

    @property
    def is_full(self) -> bool:
        """Something waits to be taken by the connection, which is open."""
        return self._transport.get_write_buffer_size() > 0

    def wake(self) -> None:
        self._woken.set()

    def end(self) -> None:
        self.ended = True
        self.wake()

    async def wait_woken(self) -> None:
        """Until it falls behind or ends."""
        await self._woken.wait()
        self._woken.clear()


class WatchFeeds:
    """All feeds of a server.  For the event loop's thread."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._feeds: dict[FeedKey, _Feed] = {}
        self._tasks = Tasks()

    def join(self, key: FeedKey, follower: Follower, encoder: FrameEncoder) -> Callable[[], None]:
        """From now on it gets changes; returns the undo.  It must have everything that has happened so far."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(self._store, key, encoder)
            self._tasks.spawn(self._run(feed, key), name=f"watch feed of {key.resource}")
        feed.add(follower)

        def leave() -> None:
            if follower in feed.followers and feed.is_idle:
                follower.rv = self._store.current_rv()
            feed.followers.discard(follower)
            if not feed.followers:
                self._forget(feed, key)
                feed.close()

        return leave

    async def _run(self, feed: _Feed, key: FeedKey) -> None:
        try:
            await feed.run()
        finally:
            self._forget(feed, key)
            feed.close()
            for follower in feed.followers:
                follower.wake()  # each finds out for itself how to go on

    def _forget(self, feed: _Feed, key: FeedKey) -> None:
        if self._feeds.get(key) is feed:
            del self._feeds[key]

    async def close(self) -> None:
        await self._tasks.cancel_all()


class _Feed:
    """Changes of one resource, written to all followers that are there."""

    def __init__(self, store: ObjectStore, key: FeedKey, encoder: FrameEncoder) -> None:
        self._store = store
        self._key = key
        self._encoder = encoder
        self._rv = store.current_rv()
        self._watch = self._open()
        self._delivering = False
        self._timer: asyncio.TimerHandle | None = None
        self.followers: set[Follower] = set()

    def add(self, follower: Follower) -> None:
        """The timer runs only while somebody wants to hear from it."""
        self.followers.add(follower)
        if follower.form.bookmarks and self._timer is None:
            self._arm()

    def close(self) -> None:
        self._watch.close()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BOOKMARK_INTERVAL_S, self._tell_progress)

    def _tell_progress(self) -> None:
        """In its turn among the changes, so that nobody hears of a version before all that led to it."""
        self._timer = None
        if any(follower.form.bookmarks for follower in self.followers):
            self._watch.offer_progress(self._store.current_rv())
            self._arm()

    @property
    def is_idle(self) -> bool:
        """All followers have all that has happened so far."""
        return self._watch.idle and not self._delivering

    async def run(self) -> None:
        """Until it is closed, or the history that it would need is gone."""
        while True:
            try:
                batch = await self._watch.next_batch()
            except GoneError:
                # Thousands of changes came at once: they are in the history, unless there were even more.
                try:
                    self._watch = self._open()
                except GoneError:
                    return
                continue
            if not batch:
                for follower in self.followers:
                    follower.end()  # the store is closed
                return
            self._delivering = True
            await self._deliver(batch)
            self._delivering = False
            self._rv = batch[-1].rv

    def _open(self) -> ObjectWatch:
        return self._store.watch(self._key.resource, self._key.namespace, self._rv, progress=True)

    async def _deliver(self, batch: Sequence[WatchEvent]) -> None:
        first_rv, last_rv = batch[0].rv, batch[-1].rv
        frames: dict[Form, list[Frame]] = {}
        for number, follower in enumerate(tuple(self.followers), 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if follower not in self.followers:
                continue
            form = follower.form
            if follower.rv >= first_rv:  # it has come in the meantime, or nothing has happened
                own = self._encoder.encode_events((event for event in batch if _is_news(event, follower.rv)), form)
            elif form in frames:
                own = frames[form]
            else:
                own = frames[form] = self._encoder.encode_events(batch, form)
            if follower.take(own):
                follower.rv = last_rv
            else:
                self.followers.discard(follower)
                follower.wake()


def _is_news(event: WatchEvent, rv: int) -> bool:
    """For one that has everything up to ``rv``: that this is still so is news too."""
    return event.rv > rv or (event.rv == rv and event.type == "BOOKMARK")
