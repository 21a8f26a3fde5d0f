"""File events."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

from podhost.linux import inotify
from podhost.linux.inotify import Inotify, InotifyEvent


async def test_events_of_several_watches_arrive_in_order(tmp_path: Path) -> None:
    watcher = Inotify()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = watcher.add_watch(tmp_path / "a", inotify.IN_CREATE | inotify.IN_MOVED_TO)
    b = watcher.add_watch(tmp_path / "b", inotify.IN_CREATE)
    (tmp_path / "a" / "one").touch()
    (tmp_path / "b" / "umläut").touch()
    os.rename(tmp_path / "b" / "umläut", tmp_path / "a" / "two")
    events = [await anext(watcher) for _ in range(3)]
    assert events == [
        InotifyEvent(a, inotify.IN_CREATE, "one"),
        InotifyEvent(b, inotify.IN_CREATE, "umläut"),
        InotifyEvent(a, inotify.IN_MOVED_TO, "two"),
    ]
    watcher.close()


async def test_removed_watch_is_confirmed_and_may_be_removed_twice(tmp_path: Path) -> None:
    watcher = Inotify()
    wd = watcher.add_watch(tmp_path, inotify.IN_CREATE)
    watcher.rm_watch(wd)
    watcher.rm_watch(wd)
    assert (await anext(watcher)).mask == inotify.IN_IGNORED
    watcher.close()


async def test_closing_ends_the_iteration(tmp_path: Path) -> None:
    watcher = Inotify()
    asyncio.get_running_loop().call_later(0.01, watcher.close)
    assert [event async for event in watcher] == []
    watcher.close()


def test_events_are_decoded_with_their_padding() -> None:
    data = struct.pack("iIII", 1, 0x100, 0, 16) + b"name".ljust(16, b"\0") + struct.pack("iIII", -1, 0x4000, 0, 0)
    assert inotify.parse_events(data) == [
        InotifyEvent(1, inotify.IN_CREATE, "name"),
        InotifyEvent(-1, inotify.IN_Q_OVERFLOW, ""),
    ]
