"""Registries that keep a pull waiting."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from podhost.cri.images import ImagePullError
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from registry import Registry, SpoilingProxy, digest_of, make_tar

LIMIT_S = 3.0
SILENT = r'image ".*": nothing has come from the registry for 3 s: context canceled$'


@pytest_asyncio.fixture
async def store(settings: ImageSettings) -> AsyncIterator[ImageStore]:
    opened = ImageStore(replace(settings, pull_idle_limit_s=LIMIT_S))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def deaf_host() -> Iterator[str]:
    """A port whose connections are taken, by the kernel, and never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def push_layer(registry: Registry, name: str, size_bytes: int) -> str:
    """Digest of the image's only layer."""
    layer = make_tar(("file", os.urandom(size_bytes)))
    registry.push_image(name, "1", [layer])
    return digest_of(gzip.compress(layer, 1, mtime=0))


def leftovers(store: ImageStore) -> list[Path]:
    return list(store.workspace.content.staging_dir.iterdir())


async def test_pull_from_a_registry_that_never_answers_is_given_up(store: ImageStore, deaf_host: str) -> None:
    with pytest.raises(ImagePullError, match=SILENT):
        await store.pull_image(f"{deaf_host}/silent:1")
    assert leftovers(store) == []


async def test_pull_whose_layer_stops_coming_is_given_up_and_the_next_succeeds(
    store: ImageStore, proxy: SpoilingProxy
) -> None:
    layer = push_layer(proxy.target, "stalled", 1 << 20)
    proxy.pause_after[layer] = 1000
    with pytest.raises(ImagePullError, match=SILENT):
        await store.pull_image(f"{proxy.host}/stalled:1")
    assert leftovers(store) == []
    proxy.pause_after.clear()
    assert (await store.pull_image(f"{proxy.host}/stalled:1")).repo_tags == (f"{proxy.host}/stalled:1",)


async def test_slow_pull_goes_on_while_bytes_come(store: ImageStore, proxy: SpoilingProxy) -> None:
    layer = push_layer(proxy.target, "slow", 1 << 20)
    proxy.trickle[layer] = (12, LIMIT_S / 8)
    async with asyncio.timeout(60):
        started_s = asyncio.get_running_loop().time()
        image = await store.pull_image(f"{proxy.host}/slow:1")
        assert asyncio.get_running_loop().time() - started_s > LIMIT_S
    assert image.repo_tags == (f"{proxy.host}/slow:1",)
