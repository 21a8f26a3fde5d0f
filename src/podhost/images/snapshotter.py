"""OverlaySnapshotter: writable layers of containers, as directories for overlayfs.

::

    LAYERS_DIR/CONTAINER/fs      upper directory
    LAYERS_DIR/CONTAINER/work    overlayfs' own

A lease in the shared store keeps the image's layers as long as the writable layer exists.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.aiokit.completion import run_in_thread_to_end, run_to_end
from podhost.cri.ids import ContainerId, ImageId
from podhost.cri.images import RootfsMount
from podhost.cri.stats import DiskUsage
from podhost.errors import NotFoundError
from podhost.images.metadata import Lease
from podhost.images.service import ImageStore
from podhost.images.settings import ImageSettings
from podhost.linux import fs

FP_DIRECTORY = failpoint.register("snapshot.prepare.01-directory")
FP_LEASE = failpoint.register("snapshot.prepare.02-lease")
FP_REMOVE_FILES = failpoint.register("snapshot.remove.01-files")
FP_REMOVE_LEASE = failpoint.register("snapshot.remove.02-lease")


class OverlaySnapshotter:
    """Implements :class:`podhost.cri.images.Snapshotter` on an open :class:`ImageStore`."""

    def __init__(self, store: ImageStore, settings: ImageSettings) -> None:
        self._store = store
        self._instance = settings.instance
        self._layers_dir = settings.layers_dir
        self._empty_dir = settings.root / "empty"

    async def prepare(self, container_id: ContainerId, image_id: ImageId) -> RootfsMount:
        path = self._layers_dir / container_id
        existed = await asyncio.to_thread(path.is_dir)
        try:
            await run_in_thread_to_end(self._make, path, container_id, image_id)
            # After the lease: from now on nobody deletes these layers.
            layers = await self._store.ensure_layers(image_id)
            return await run_in_thread_to_end(self._finish, path, layers)
        except BaseException:
            if not existed:
                await run_to_end(self.remove(container_id))
            raise

    def _make(self, path: Path, container_id: ContainerId, image_id: ImageId) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        failpoint.hit(FP_DIRECTORY)
        lease = Lease(self._instance, container_id, image_id, path)
        if not self._store.workspace.metadata.add_lease(lease):
            raise NotFoundError(f'cannot prepare a root for container "{container_id}": no image {image_id}')
        failpoint.hit(FP_LEASE)

    def _finish(self, path: Path, layers: Sequence[Path]) -> RootfsMount:
        if not layers:
            self._empty_dir.mkdir(mode=0o755, exist_ok=True)
            layers = [self._empty_dir]
        upper, work = path / "fs", path / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        if not upper.is_dir():
            # The root directory of the merged tree is the upper one: it must look like the image's.
            info = os.stat(layers[0])
            upper.mkdir()
            os.chown(upper, info.st_uid, info.st_gid)
            upper.chmod(stat.S_IMODE(info.st_mode))
        return RootfsMount(lower_dirs=tuple(layers), upper_dir=upper, work_dir=work)

    async def remove(self, container_id: ContainerId) -> None:
        await asyncio.to_thread(self._remove, container_id)

    def _remove(self, container_id: ContainerId) -> None:
        failpoint.hit(FP_REMOVE_FILES)
        fs.remove_tree(self._layers_dir / container_id)
        failpoint.hit(FP_REMOVE_LEASE)
        self._store.workspace.metadata.remove_lease(self._instance, container_id)

    async def measure(self, container_id: ContainerId) -> DiskUsage:
        use = await asyncio.to_thread(fs.measure_tree, self._layers_dir / container_id / "fs")
        return DiskUsage(used_bytes=use.allocated_bytes, inodes=use.inodes)

    async def list_keys(self) -> set[ContainerId]:
        return await asyncio.to_thread(self._list_keys)

    def _list_keys(self) -> set[ContainerId]:
        leased = {ContainerId(lease.container_id) for lease in self._store.workspace.metadata.leases(self._instance)}
        if not self._layers_dir.is_dir():
            return leased
        return leased | {ContainerId(path.name) for path in self._layers_dir.iterdir()}
