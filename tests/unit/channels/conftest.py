"""The pod that each table row changes."""

from __future__ import annotations

import pytest

from harness.channel_world import World


@pytest.fixture
def world() -> World:
    return World()
