"""Images as volumes: their layers are held for the pod, and let go with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID
from podhost.cri.images import Image, ImageConfig, RootfsMount
from podhost.cri.stats import DiskUsage
from podhost.cri.volumes import VolumeError
from podhost.volumes.image_volume import ImageSource
from podhost.volumes.plan import compute_directory

ROOTFS = RootfsMount(lower_dirs=(Path("/l"),), upper_dir=Path("/u"), work_dir=Path("/w"))


class Snapshots:
    def __init__(self) -> None:
        self.keys = {ContainerId("c1")}

    async def prepare(self, container_id: ContainerId, image_id: ImageId) -> RootfsMount:
        assert image_id == "sha256:1"
        self.keys.add(container_id)
        return ROOTFS

    async def remove(self, container_id: ContainerId) -> None:
        self.keys.discard(container_id)

    async def measure(self, container_id: ContainerId) -> DiskUsage:
        del container_id
        return DiskUsage()

    async def list_keys(self) -> set[ContainerId]:
        return set(self.keys)


IMAGE = Image(
    id=ImageId("sha256:1"),
    repo_tags=(),
    repo_digests=(),
    size_bytes=1,
    created_at="",
    architecture="amd64",
    os="linux",
    config=ImageConfig(),
)


def find(ref: str) -> Image | None:
    return IMAGE if ref == "nginx" else None


async def test_layers_are_held_by_pod_and_volume_and_let_go_with_the_pod() -> None:
    snapshots = Snapshots()
    source = ImageSource(snapshotter=snapshots, find_image=find)
    wanted = models.ImageVolumeSource(reference="nginx")
    plan = await source.prepare(PodUID("u1"), "web", wanted)
    await source.prepare(PodUID("u2"), "web", wanted)
    assert str(compute_directory(plan)) == "volumes/kubernetes.io~image/web"
    assert snapshots.keys == {"c1", "volume-u1-web", "volume-u2-web"}
    await source.release(PodUID("u1"))
    await source.release(PodUID("u1"))
    assert snapshots.keys == {"c1", "volume-u2-web"}


async def test_an_image_that_is_not_here_is_named() -> None:
    source = ImageSource(snapshotter=Snapshots(), find_image=find)
    with pytest.raises(VolumeError, match='image "redis" of the volume is not here'):
        await source.prepare(PodUID("u"), "v", models.ImageVolumeSource(reference="redis"))
