"""``image load``: import from any transport of skopeo; the names count as made on this machine."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

from podhost.aiokit import failpoint
from podhost.api import image_refs
from podhost.api.image_refs import ImageRef
from podhost.cri.images import ProgressCallback
from podhost.errors import ExhaustedError, InvalidError, UnavailableError
from podhost.images.load_sources import SourceImage, decompress_archive, find_compressed_archive, find_images
from podhost.images.pull import ProgressReporter
from podhost.images.pull_errors import is_disk_full
from podhost.images.records import ImageRecord
from podhost.images.registry_auth import is_loopback
from podhost.images.skopeo import SkopeoError, SourceOptions
from podhost.images.unpack import ensure_unpacked
from podhost.images.workspace import Work, Workspace

FP_COPY = failpoint.register("image.load.01-copy")
FP_COMMIT = failpoint.register("image.load.02-commit-names")


class Loader:
    """Imports images, one after the other."""

    def __init__(self, workspace: Workspace) -> None:
        self._space = workspace

    async def load(
        self, source: str, *, name: str | None = None, progress: ProgressCallback | None = None
    ) -> list[ImageRecord]:
        """Raises InvalidError, NotFoundError, ExhaustedError."""
        given = image_refs.normalize(name) if name else None
        if given is not None and given.digest:
            raise InvalidError(f'cannot load as "{name}": a name with a digest cannot be given')
        images = await asyncio.to_thread(find_images, source)
        if given is not None and len(images) > 1:
            raise InvalidError(f'cannot load "{source}" as "{name}": it holds {len(images)} images')
        loaded = []
        async with self._space.work("load") as work:
            for index, image in enumerate(await self._decompressed(work, images)):
                names = [str(given)] if given else list(image.names)
                reporter = ProgressReporter(names[0] if names else source, progress or (lambda state: None))
                loaded.append(await self._import(work, image, names, f"image-{index}", reporter))
        return loaded

    async def _decompressed(self, work: Work, images: list[SourceImage]) -> list[SourceImage]:
        """skopeo does not read compressed docker-archives (``docker save … | gzip``): give it a plain one."""
        archive = await asyncio.to_thread(find_compressed_archive, images[0].source)
        if archive is None:
            return images
        plain = work.staging / "archive.tar"
        try:
            await asyncio.to_thread(decompress_archive, archive, plain)
        except (OSError, EOFError, ValueError) as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (ExhaustedError if full else InvalidError)(f'cannot load "{archive}": {error}') from error
        old, new = f"docker-archive:{archive}", f"docker-archive:{plain}"
        return [replace(image, source=image.source.replace(old, new, 1)) for image in images]

    async def _import(
        self, work: Work, image: SourceImage, names: list[str], directory: str, reporter: ProgressReporter
    ) -> ImageRecord:
        failpoint.hit(FP_COPY)
        reporter.on_download(0, 0)
        content = self._space.content
        options = SourceOptions(verify_tls=not _is_loopback_source(image))
        try:
            manifest_digest = await self._space.skopeo.copy_to_layout(
                image.source, work.staging / directory, content.blobs_dir, options, work.lock_fd
            )
        except UnavailableError:
            raise
        except SkopeoError as error:
            text = f'cannot load "{image.source}": {error}'
            raise (ExhaustedError if is_disk_full(str(error)) else InvalidError)(text) from error
        record = await asyncio.to_thread(self._space.read_record, manifest_digest)
        await ensure_unpacked(content, record.layers, work.lock_fd, reporter.on_layer)
        failpoint.hit(FP_COMMIT)
        await asyncio.to_thread(self._space.metadata.add_image, record, names=names, repo_digests=[], local=True)
        reporter.on_done()
        return record


def _is_loopback_source(image: SourceImage) -> bool:
    if not image.source.startswith("docker://"):
        return False
    ref: ImageRef = image_refs.normalize(image.source.removeprefix("docker://"))
    return is_loopback(ref.domain)
