"""Work that must not be abandoned half-way.

A thread cannot be cancelled: ``await asyncio.to_thread(…)`` returns at once when its caller is cancelled, and the
work goes on behind the back of whoever undoes it then.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


async def run_to_end(work: Awaitable[T]) -> T:
    """Await ``work``; a cancelled caller waits until it has ended, and is cancelled then."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _wait_done(future)
        raise


async def open_to_end(opening: Awaitable[T], close: Callable[[T], Awaitable[None]]) -> T:
    """Await ``opening``; a cancelled caller waits until it has ended, and what was opened is closed again."""
    future = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if await _wait_done(future):
            await run_to_end(close(future.result()))
        raise


async def _wait_done(future: asyncio.Future[T]) -> bool:
    """Whether it has ended well."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # twice is no reason either
    if future.cancelled():
        return False
    if error := future.exception():
        _log.debug("the work of a cancelled task failed: %s", error)
        return False
    return True


async def run_in_thread_to_end(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """:func:`asyncio.to_thread` for work with effects that will be undone: never leaves it running."""
    loop = asyncio.get_running_loop()
    return await run_to_end(loop.run_in_executor(None, functools.partial(fn, *args, **kwargs)))
