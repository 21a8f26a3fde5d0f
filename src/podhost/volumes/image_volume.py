"""image: the files of an image, to be read and not to be run (KEP-4639)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from podhost.api import models
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.images import Image, Snapshotter
from podhost.cri.volumes import VolumeError
from podhost.linux import fs, mount
from podhost.volumes.plan import ImagePlan

SNAPSHOT_PREFIX = "volume-"
"""Of the keys of snapshots that belong to volumes; those of containers are their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """Where the layers of images are had, and held."""

    snapshotter: Snapshotter
    find_image: Callable[[str], Image | None]

    async def prepare(self, uid: PodUID, name: str, source: models.ImageVolumeSource) -> ImagePlan:
        """Hold the layers.  Idempotent.  Raises VolumeError when the image is not here: the kubelet pulls it."""
        reference = source.reference or ""
        image = self.find_image(reference)
        if image is None:
            raise VolumeError(f'image "{reference}" of the volume is not here')
        rootfs = await self.snapshotter.prepare(ContainerId(f"{SNAPSHOT_PREFIX}{uid}-{name}"), image.id)
        return ImagePlan(name=name, rootfs=rootfs)

    async def release(self, uid: PodUID) -> None:
        """Let all images of a pod go.  Idempotent."""
        for key in await self.snapshotter.list_keys():
            if key.startswith(f"{SNAPSHOT_PREFIX}{uid}-"):
                await self.snapshotter.remove(key)


def apply_plan(plan: ImagePlan, directory: Path) -> None:
    """Mount the image's files unless they are there.  Raises OSError."""
    if mount.is_mount_point(directory):
        return
    fs.ensure_directory(directory, 0o755)
    mount.mount_overlay(directory, plan.rootfs.lower_dirs, plan.rootfs.upper_dir, plan.rootfs.work_dir)
