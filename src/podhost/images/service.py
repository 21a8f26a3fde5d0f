"""ImageStore: the CRI ImageService over skopeo and the shared content store."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.aiokit.tasks import Tasks
from podhost.api import image_refs
from podhost.api.image_refs import ImageRef
from podhost.cri.ids import ChainId, ImageId
from podhost.cri.images import AuthConfig, Image, ImagePullError, ProgressCallback, PullProgress
from podhost.errors import ConflictError, InvalidError, NotFoundError
from podhost.images import collect
from podhost.images.build import Builder
from podhost.images.content import ContentStore
from podhost.images.load import Loader
from podhost.images.metadata import Catalog, Metadata
from podhost.images.pull import ProgressReporter, Pull, is_disk_full
from podhost.images.records import ImageRecord
from podhost.images.settings import ImageSettings
from podhost.images.skopeo import Skopeo
from podhost.images.unpack import ensure_unpacked
from podhost.images.workspace import Workspace
from podhost.linux import spawn

_log = logging.getLogger(__name__)

FP_REMOVE = failpoint.register("image.remove.01-names")
FP_COLLECT = failpoint.register("image.remove.02-content")

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_SHORT_ID = re.compile(r"[0-9a-f]{12,63}")


@dataclass(slots=True)
class _SharedPull:
    """A running pull and all who wait for it."""

    task: asyncio.Task[Image | ImagePullError]
    callbacks: list[ProgressCallback] = field(default_factory=list)
    waiting: int = 0
    last: PullProgress | None = None

    def on_progress(self, progress: PullProgress) -> None:
        self.last = progress
        for callback in list(self.callbacks):
            callback(progress)


class ImageStore:
    """The machine's images, as one daemon sees them.  Several daemons may have the same root open.

    Call :meth:`open` first and :meth:`close` last.
    """

    def __init__(self, settings: ImageSettings) -> None:
        self._settings = settings
        self._tasks = Tasks()
        self._pulls: dict[tuple[ImageRef, tuple[AuthConfig, ...]], _SharedPull] = {}
        self._pull_watchers: list[ProgressCallback] = []
        self._pull_slots = asyncio.Semaphore(settings.max_parallel_pulls)
        self._unpacking: dict[str, asyncio.Lock] = {}
        self._collect_later = False
        self._space: Workspace | None = None
        self._builder: Builder | None = None

    async def open(self) -> None:
        """Make the store ready; sweeps what a crash has left."""
        content = ContentStore(self._settings.root)
        metadata = await asyncio.to_thread(_open_store, content, self._settings)
        skopeo = Skopeo(self._settings.skopeo, content.staging_dir)
        self._space = Workspace(self._settings, content, metadata, skopeo)

    async def close(self) -> None:
        """Cancel what runs (its staging goes away) and close the database."""
        await self._tasks.cancel_all()
        if self._space is not None:
            self._space.metadata.close()
            self._space = self._builder = None

    @property
    def workspace(self) -> Workspace:
        """For the snapshotter.  Raises RuntimeError when the store is not open."""
        if self._space is None:
            raise RuntimeError("the image store is not open")
        return self._space

    # -- looking up ----------------------------------------------------------------------------------------

    def image_status(self, ref: str) -> Image | None:
        catalog = self.workspace.metadata.catalog()
        image_id = _find_id(catalog, ref)
        return catalog.images[image_id] if image_id else None

    def list_images(self) -> list[Image]:
        return list(self.workspace.metadata.catalog().images.values())

    def _require(self, ref: str) -> tuple[Catalog, ImageRecord]:
        catalog = self.workspace.metadata.catalog()
        image_id = _find_id(catalog, ref)
        if image_id is None:
            raise NotFoundError(f'image "{ref}": not found')
        return catalog, catalog.records[image_id]

    def _image(self, image_id: str) -> Image:
        return self.workspace.metadata.catalog().images[image_id]

    # -- pulling -------------------------------------------------------------------------------------------

    async def pull_image(
        self, ref: str, *, auths: tuple[AuthConfig, ...] = (), progress: ProgressCallback | None = None
    ) -> Image:
        try:
            parsed = image_refs.normalize(ref)
        except InvalidError as error:
            cause = str(error).rpartition(": ")[2]
            text = f'failed to parse image name "{ref}": {cause}'
            raise ImagePullError(text, reason="InvalidImageName") from error
        key = (parsed, auths)
        shared = self._pulls.get(key)
        if shared is None:
            shared = self._start_pull(key)
        return await self._join(shared, progress)

    def _start_pull(self, key: tuple[ImageRef, tuple[AuthConfig, ...]]) -> _SharedPull:
        def on_progress(state: PullProgress) -> None:
            shared.on_progress(state)
            self._tell_watchers(state)

        async def run() -> Image | ImagePullError:
            try:
                return await self._run_pull(*key, on_progress)
            except ImagePullError as error:
                self._tell_watchers(PullProgress(ref=str(key[0]), phase="failed"))
                return error  # raised to every waiter; the task itself has not failed
            finally:
                if self._pulls.get(key) is shared:
                    del self._pulls[key]

        shared = _SharedPull(self._tasks.spawn(run(), name=f"pull {key[0]}"))
        self._pulls[key] = shared
        return shared

    def subscribe_pulls(self, callback: ProgressCallback) -> Callable[[], None]:
        self._pull_watchers.append(callback)
        for shared in self._pulls.values():
            if shared.last is not None:
                callback(shared.last)
        return lambda: self._pull_watchers.remove(callback)

    def _tell_watchers(self, state: PullProgress) -> None:
        for callback in list(self._pull_watchers):
            callback(state)

    async def _join(self, shared: _SharedPull, progress: ProgressCallback | None) -> Image:
        if progress is not None:
            shared.callbacks.append(progress)
            if shared.last is not None:
                progress(shared.last)
        shared.waiting += 1
        try:
            result = await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if progress is not None:
                shared.callbacks.remove(progress)
            if shared.waiting == 0 and not shared.task.done():
                # Nobody wants it any more; new callers start afresh.
                self._pulls = {key: other for key, other in self._pulls.items() if other is not shared}
                shared.task.cancel()
        if isinstance(result, ImagePullError):
            raise result
        return result

    async def _run_pull(self, ref: ImageRef, auths: tuple[AuthConfig, ...], callback: ProgressCallback) -> Image:
        async with self._pull_slots:
            reporter = ProgressReporter(str(ref), callback)
            try:
                record = await Pull(self.workspace, ref, auths, reporter, self._tasks.spawn).run()
            except ImagePullError as error:
                if is_disk_full(error):
                    await self._collect(orphan_age_s=0)
                raise
        await self._after_work(record)
        return self._image(record.id)

    async def _after_work(self, record: ImageRecord) -> None:
        self._tasks.spawn(self._make_durable(record), name=f"sync layers of {record.id}")
        if self._collect_later:
            await self._collect(orphan_age_s=self._settings.orphan_age_s)

    async def _make_durable(self, record: ImageRecord) -> None:
        """Write the layers through to the disk, beside the road: a pull does not wait for it."""
        chain_ids: list[ChainId] = [layer.chain_id for layer in record.layers]
        content = self.workspace.content
        await spawn.run(["sync", "--file-system", str(content.root)])
        await asyncio.to_thread(content.mark_durable, chain_ids)

    # -- loading and building ------------------------------------------------------------------------------

    async def load_image(
        self, source: str, *, name: str | None = None, progress: ProgressCallback | None = None
    ) -> list[Image]:
        """Import.  Raises InvalidError (source or name), NotFoundError, ExhaustedError."""
        loader = Loader(self.workspace)
        try:
            loaded = await loader.load(source, name=name, progress=progress)
        except Exception as error:
            if is_disk_full(error):
                await self._collect(orphan_age_s=0)
            raise
        for record in loaded:
            await self._after_work(record)
        return [self._image(image_id) for image_id in dict.fromkeys(record.id for record in loaded)]

    async def build_image(
        self,
        context: Path,
        *,
        name: str,
        containerfile: Path | None = None,
        output: Callable[[bytes], None] | None = None,
    ) -> Image:
        """Build and import.  Raises UnavailableError without buildah, InvalidError when the build fails."""
        if self._builder is None:
            self._builder = Builder(self.workspace, self.image_status, self.pull_image)
        record = await self._builder.build(context, name=name, containerfile=containerfile, output=output)
        await self._after_work(record)
        return self._image(record.id)

    # -- naming and removing -------------------------------------------------------------------------------

    async def tag_image(self, source: str, name: str) -> Image:
        _, record = self._require(source)
        target = image_refs.normalize(name)
        if target.digest:
            raise InvalidError(f'cannot tag "{source}" as "{name}": a name with a digest cannot be given')
        await asyncio.to_thread(
            self.workspace.metadata.add_image, record, names=[str(target)], repo_digests=[], local=True
        )
        return self._image(record.id)

    async def remove_image(self, ref: str) -> None:
        catalog, record = self._require(ref)
        names = catalog.names_of(record.id)
        name = _named(catalog, ref)
        failpoint.hit(FP_REMOVE)
        if name is not None and len(names) > 1:
            await asyncio.to_thread(self.workspace.metadata.remove_name, name)
            return
        await asyncio.to_thread(self._drop_void_leases)
        if not await asyncio.to_thread(self.workspace.metadata.remove_image, record.id):
            users = [item.container_id for item in self.workspace.metadata.leases() if item.image_id == record.id]
            listed = ", ".join(f'"{user[:12]}"' for user in users[:3])
            raise ConflictError(f'cannot remove image "{ref}": it is in use by container {listed}')
        await self._collect(orphan_age_s=self._settings.orphan_age_s, also=record.blobs)

    async def prune(self) -> tuple[int, int]:
        await asyncio.to_thread(self._drop_void_leases)
        metadata = self.workspace.metadata
        unused = collect.compute_unused_images(metadata.catalog(), metadata.leases())
        removed = 0
        for image_id in unused:
            removed += await asyncio.to_thread(metadata.remove_image, image_id)
        return removed, await self._collect(orphan_age_s=0)

    def _drop_void_leases(self) -> None:
        metadata = self.workspace.metadata
        for lease in collect.find_void_leases(metadata.leases()):
            metadata.remove_lease(lease.instance, lease.container_id)

    async def _collect(self, *, orphan_age_s: float, also: frozenset[str] = frozenset()) -> int:
        """Delete what nothing needs; put off while anybody, here or in another daemon, is at work."""
        failpoint.hit(FP_COLLECT)
        freed = await asyncio.to_thread(_collect, self.workspace, orphan_age_s, also)
        self._collect_later = freed is None
        return freed or 0

    # -- for the snapshotter -------------------------------------------------------------------------------

    async def ensure_layers(self, image_id: ImageId) -> Sequence[Path]:
        """Layer directories of an image, top first; unpacks again what a loss of power has taken.

        Raises:
            NotFoundError: The image, or a blob of it, is gone.
        """
        _, record = self._require(image_id)
        content = self.workspace.content
        if not all(content.has_snapshot(layer.chain_id) for layer in record.layers):
            lock = self._unpacking.setdefault(image_id, asyncio.Lock())
            async with lock, self.workspace.work("unpack") as work:
                await ensure_unpacked(content, record.layers, work.lock_fd)
            self._tasks.spawn(self._make_durable(record), name=f"sync layers of {image_id}")
        return [content.layer_dir(layer.chain_id) for layer in reversed(record.layers)]


def _find_id(catalog: Catalog, ref: str) -> str | None:
    """Image id of a name, a digest reference, an id, or the start of an id."""
    if match := _ID.fullmatch(ref):
        image_id = f"sha256:{match[1]}"
        return image_id if image_id in catalog.records else None
    try:
        parsed = image_refs.normalize(ref)
    except InvalidError:
        return None
    if parsed.digest:
        return catalog.repo_digests.get(str(parsed.with_digest(parsed.digest)))
    if found := catalog.names.get(str(parsed)):
        return found
    if _SHORT_ID.fullmatch(ref):
        matches = [image_id for image_id in catalog.records if image_id.startswith(f"sha256:{ref}")]
        return matches[0] if len(matches) == 1 else None
    return None


def _named(catalog: Catalog, ref: str) -> str | None:
    """The recorded name that ``ref`` spells; ``None`` for ids."""
    try:
        name = str(image_refs.normalize(ref))
    except InvalidError:
        return None
    return name if name in catalog.names else None


def _open_store(content: ContentStore, settings: ImageSettings) -> Metadata:
    content.ensure_layout()
    metadata = Metadata(settings.root / "meta.db")
    with content.exclusive_lock() as alone:
        if alone:
            content.sweep_staging()
            for chain_id in content.drop_doubtful_snapshots():
                _log.warning("layer %s may not have reached the disk before the last boot: dropped", chain_id)
            _collect_locked(content, metadata, settings.orphan_age_s, frozenset())
    return metadata


def _collect(space: Workspace, orphan_age_s: float, also: frozenset[str]) -> int | None:
    with space.content.exclusive_lock() as alone:
        if not alone:
            return None
        space.content.sweep_staging()
        return _collect_locked(space.content, space.metadata, orphan_age_s, also)


def _collect_locked(content: ContentStore, metadata: Metadata, orphan_age_s: float, also: frozenset[str]) -> int:
    candidates = collect.list_candidates(content, orphan_age_s, also)
    garbage = collect.compute_garbage(metadata.catalog(), blobs=candidates, snapshots=content.list_snapshots())
    return collect.apply_garbage(content, garbage)
