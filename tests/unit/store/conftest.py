"""A store in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.aiokit.clock import FakeClock
from podhost.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(params=[(), ("pods",)], ids=["in memory", "on disk"])
def store(path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    opened = Store(path, FakeClock(), on_disk=request.param)
    yield opened
    opened.close()
