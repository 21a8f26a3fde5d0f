"""Streams that were taken over from the HTTP server: how long their clients may leave them unread."""

from __future__ import annotations

import asyncio

import pytest

from podhost.apiserver.upgrade import give_up_on_stall, stall_limit_s

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("limit_s", [300.0, None])
async def test_a_client_that_does_not_read_counts_as_gone_after_the_limit(limit_s: float | None) -> None:
    token = stall_limit_s.set(limit_s)
    try:
        with pytest.raises(ConnectionAbortedError if limit_s else TimeoutError):
            async with asyncio.timeout(86_400), give_up_on_stall():
                await asyncio.Event().wait()
    finally:
        stall_limit_s.reset(token)
    assert asyncio.get_running_loop().time() >= (limit_s or 86_400)
