"""An image store on its own directory; a registry on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from podhost.aiokit import failpoint
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from registry import proxy, registry, registry_with_password

__all__ = ["proxy", "registry", "registry_with_password"]


@pytest.fixture
def settings(tmp_path: Path) -> ImageSettings:
    return ImageSettings(root=tmp_path / "_images", instance="one", layers_dir=tmp_path / "one" / "layers")


@pytest_asyncio.fixture
async def store(settings: ImageSettings) -> AsyncIterator[ImageStore]:
    opened = ImageStore(settings)
    await opened.open()
    yield opened
    failpoint.clear()
    await opened.close()
