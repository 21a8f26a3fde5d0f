"""For all tests."""

from __future__ import annotations

import asyncio


def pytest_configure() -> None:
    # Plugins ask for "the current event loop" before the first asynchronous test; unless it was set once, even
    # to nothing, asyncio makes one for them that nobody closes.
    asyncio.set_event_loop(None)
