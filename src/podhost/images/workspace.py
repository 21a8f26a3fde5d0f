"""What the verbs of the image service work with: settings, files, database, skopeo; and a unit of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.cri.ids import Digest
from podhost.images.content import ContentStore
from podhost.images.metadata import Metadata
from podhost.images.records import ImageRecord, build_record, parse_document, read_config_digest
from podhost.images.settings import ImageSettings
from podhost.images.skopeo import Skopeo
from podhost.linux import fs

FP_VERIFY = failpoint.register("image.pull.03-verify")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The open store."""

    settings: ImageSettings
    content: ContentStore
    metadata: Metadata
    skopeo: Skopeo

    @asynccontextmanager
    async def work(self, name: str) -> AsyncIterator[Work]:
        """A staging directory under the shared lock; both are gone afterwards, whatever happened."""
        with ExitStack() as stack:
            lock_fd = await asyncio.to_thread(stack.enter_context, self.content.shared_lock())
            staging = await asyncio.to_thread(self.content.make_staging, name)
            try:
                yield Work(lock_fd, staging)
            finally:
                await asyncio.shield(asyncio.to_thread(fs.remove_tree, staging))

    def read_record(self, manifest_digest: str) -> ImageRecord:
        """Manifest and configuration out of the store, verified.  Blocking.

        Raises:
            NotFoundError: A blob is missing or damaged.
            InvalidError: Not an image.
        """
        failpoint.hit(FP_VERIFY)
        manifest = self.content.read_blob(manifest_digest)
        config_digest = read_config_digest(parse_document(manifest, "the manifest"))
        return build_record(Digest(manifest_digest), manifest, self.content.read_blob(config_digest))


@dataclass(frozen=True, slots=True)
class Work:
    """A unit of work: pass ``lock_fd`` to child processes, so that the lock outlives us with them."""

    lock_fd: int
    staging: Path
