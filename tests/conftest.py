"""For all tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator

import pytest


def pytest_configure() -> None:
    # Plugins ask for "the current event loop" before the first asynchronous test; unless it was set once, even
    # to nothing, asyncio makes one for them that nobody closes.
    asyncio.set_event_loop(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (``scripts/test`` says so), a skip for want of something is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("PODHOST_TEST_NEEDS") == "all":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "needs" in reason or "need " in reason:
            report.outcome = "failed"
            report.longrepr = f"skipped where nothing may be missing: {reason}"
    return report
