"""Feeds of watchers, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from podhost.aiokit.clock import FakeClock
from podhost.api.kinds import CONFIG_MAP
from podhost.apiserver.negotiation import Representation, View
from podhost.apiserver.selection import Selection
from podhost.apiserver.watch_encoding import EventEncoder, Form, FrameEncoder
from podhost.apiserver.watch_feeds import BOOKMARK_INTERVAL_S, FeedKey, Follower, WatchFeeds
from podhost.store import ObjectKey, Store, ViewedStore

pytestmark = pytest.mark.looptime

SHAPE = Representation(View.OBJECT)
KEY = FeedKey("configmaps", None, None, None, SHAPE)


class Wire:
    """A connection that takes everything."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.lines += [json.loads(line) for line in data.splitlines()]

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def told(self) -> list[tuple[str, str]]:
        return [(line["type"], line["object"]["metadata"]["resourceVersion"]) for line in self.lines]


class World:
    def __init__(self, path: Path) -> None:
        self.store = Store(path, FakeClock())
        self.feeds = WatchFeeds(ViewedStore(self.store, {}))
        self.encoder = FrameEncoder(Selection(CONFIG_MAP), EventEncoder(CONFIG_MAP, SHAPE, FakeClock()))

    def join(self, *, bookmarks: bool) -> tuple[Wire, Any]:
        wire = Wire()
        form = Form(bookmarks=bookmarks, chunked=False)
        follower = Follower(cast(asyncio.Transport, wire), form, self.store.current_rv())
        return wire, self.feeds.join(KEY, follower, self.encoder)

    def write(self, resource: str, name: str) -> str:
        metadata = {"name": name, "namespace": "default", "uid": name}
        made = self.store.create(ObjectKey(resource, "default", name), {"metadata": metadata})
        return str(made["metadata"]["resourceVersion"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "store.db")
    yield made
    await made.feeds.close()
    made.store.close()


async def test_who_wants_bookmarks_gets_one_a_minute(world: World) -> None:
    marked, _ = world.join(bookmarks=True)
    plain, _ = world.join(bookmarks=False)
    await asyncio.sleep(BOOKMARK_INTERVAL_S / 2)
    changed = world.write("configmaps", "a")
    elsewhere = world.write("secrets", "b")
    await asyncio.sleep(BOOKMARK_INTERVAL_S)
    assert marked.told() == [("ADDED", changed), ("BOOKMARK", elsewhere)]
    await asyncio.sleep(BOOKMARK_INTERVAL_S)
    assert marked.told() == [("ADDED", changed), ("BOOKMARK", elsewhere), ("BOOKMARK", elsewhere)]
    assert plain.told() == [("ADDED", changed)]


async def test_no_timer_runs_when_nobody_wants_bookmarks(world: World) -> None:
    def timers() -> int:
        pending = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        return sum(not handle.cancelled() and "_tell_progress" in repr(handle) for handle in pending)

    plain, leave_plain = world.join(bookmarks=False)
    assert timers() == 0
    marked, leave_marked = world.join(bookmarks=True)
    assert timers() == 1
    leave_marked()
    await asyncio.sleep(BOOKMARK_INTERVAL_S + 1)
    assert timers() == 0
    _, leave_again = world.join(bookmarks=True)
    assert timers() == 1
    leave_plain()
    leave_again()
    await asyncio.sleep(0)
    assert timers() == 0
    assert (plain.told(), marked.told()) == ([], [])
