"""A peer that has gone is noticed without reading."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from podhost.linux.hangup import HangupWatch


def _count_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("unread", [b"", b"x" * 1000])
async def test_peer_that_closes_is_noticed_once_whatever_is_unread(unread: bytes) -> None:
    ours, theirs = socket.socketpair()
    before = _count_fds()
    gone = asyncio.Event()
    watch = HangupWatch(ours, gone.set)
    theirs.sendall(unread)
    await asyncio.sleep(0)
    assert not gone.is_set()
    theirs.close()
    await asyncio.wait_for(gone.wait(), 5)
    watch.close()
    assert _count_fds() == before - 1
    ours.close()


async def test_watch_that_is_closed_says_nothing() -> None:
    ours, theirs = socket.socketpair()
    watch = HangupWatch(ours, lambda: pytest.fail("it was closed"))
    watch.close()
    watch.close()
    theirs.close()
    await asyncio.sleep(0.01)
    ours.close()
