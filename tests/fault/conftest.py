"""Fault tests start their own daemons: each is killed on purpose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.images import ensure_example_images


@pytest.fixture(scope="session")
def image_store() -> Path:
    store = Path(os.environ.get("PODHOST_TEST_IMAGE_STORE", "/var/cache/podhost/test-image-store"))
    ensure_example_images(store)
    return store
