"""SIGKILL at each step, and a disk that is really full."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.aiokit import failpoint
from podhost.cri.images import ImagePullError
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from podhost.images.snapshotter import OverlaySnapshotter
from podhost.linux import mount
from registry import Registry, make_tar

_SCRIPT = """
import asyncio, sys
from pathlib import Path
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from podhost.images.snapshotter import OverlaySnapshotter

async def main(root, layers, ref):
    settings = ImageSettings(root=Path(root), instance="one", layers_dir=Path(layers))
    store = ImageStore(settings)
    await store.open()
    image = await store.pull_image(ref)
    snapshotter = OverlaySnapshotter(store, settings)
    await snapshotter.prepare("container", image.id)
    await snapshotter.remove("container")
    await store.remove_image(ref)

asyncio.run(main(*sys.argv[1:]))
"""

_STEPS = [name for name in failpoint.known() if name.startswith(("image.pull.", "image.remove.", "snapshot."))]


def test_steps_are_known() -> None:
    assert len(_STEPS) == 12


@pytest.mark.parametrize("step", _STEPS)
async def test_killed_at_any_step_leaves_a_store_that_works_and_can_be_emptied(
    settings: ImageSettings, registry: Registry, step: str
) -> None:
    registry.push_image("killed", "1", [make_tar(("a", b"a")), make_tar(("b", b"b"))])
    ref = f"{registry.host}/killed:1"
    argv = [sys.executable, "-c", _SCRIPT, str(settings.root), str(settings.layers_dir), ref]
    environ = {**os.environ, "PODHOST_FAILPOINTS": f"{step}=kill"}
    done = await asyncio.to_thread(subprocess.run, argv, env=environ, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    store = ImageStore(settings)
    await store.open()
    snapshotter = OverlaySnapshotter(store, settings)
    for key in await snapshotter.list_keys():
        await snapshotter.remove(key)
    image = await store.pull_image(ref)
    assert all(path.is_dir() for path in await store.ensure_layers(image.id))
    await store.remove_image(ref)
    await store.prune()
    content = store.workspace.content
    assert (content.list_blobs(), content.list_snapshots()) == (set(), set())
    assert list(content.staging_dir.iterdir()) == []
    assert list(settings.layers_dir.iterdir() if settings.layers_dir.exists() else ()) == []
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    mount.mount_tmpfs(path, size_bytes=6 << 20)
    yield path
    mount.unmount(path)


@pytest.mark.parametrize("where", ["while fetching", "while unpacking"])
async def test_full_disk_fails_the_pull_alone_and_leaves_nothing(
    registry: Registry, small_disk: Path, where: str
) -> None:
    content = os.urandom(8 << 20) if where == "while fetching" else bytes(8 << 20)
    registry.push_image("large", "1", [make_tar(("small", b"x")), make_tar(("large", content))])
    registry.push_image("little", "1", [make_tar(("small", b"x"))])
    store = ImageStore(ImageSettings(root=small_disk / "store", instance="one", layers_dir=small_disk / "layers"))
    await store.open()
    with pytest.raises(ImagePullError, match=r"(?i)no space left on device"):
        await store.pull_image(f"{registry.host}/large:1")
    assert store.workspace.content.list_blobs() == set()
    assert store.workspace.content.list_snapshots() == set()
    assert list(store.workspace.content.staging_dir.iterdir()) == []
    assert await store.pull_image(f"{registry.host}/little:1")
    await store.close()
