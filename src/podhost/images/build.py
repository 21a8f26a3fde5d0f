"""``image build``: buildah in a store of its own, fed from ours, its result imported into ours."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.api import image_refs
from podhost.cri.images import Image, ImagePullError
from podhost.errors import ExhaustedError, InvalidError, NotFoundError, UnavailableError
from podhost.images.containerfile import find_base_images
from podhost.images.pull_errors import is_disk_full
from podhost.images.records import ImageRecord
from podhost.images.skopeo import SkopeoError, write_layout
from podhost.images.unpack import ensure_unpacked
from podhost.images.workspace import Work, Workspace
from podhost.linux import mount, spawn

FP_EXPORT = failpoint.register("image.build.01-export-bases")
FP_BUILD = failpoint.register("image.build.02-build")
FP_IMPORT = failpoint.register("image.build.03-import")
FP_COMMIT = failpoint.register("image.build.04-commit-names")

_FILE_NAMES = ("Containerfile", "Dockerfile")
_ERROR_LINES = 5


class Builder:
    """Builds.  ``find`` and ``pull`` are the image service's: bases come from our store, or into it first."""

    def __init__(
        self, workspace: Workspace, find: Callable[[str], Image | None], pull: Callable[[str], Awaitable[Image]]
    ) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._space = workspace
        self._find = find
        self._pull = pull
        self._root = workspace.content.build_dir

    async def build(
        self,
        context: Path,
        *,
        name: str,
        containerfile: Path | None = None,
        output: Callable[[bytes], None] | None = None,
    ) -> ImageRecord:
        """Raises UnavailableError (no buildah), NotFoundError (no Containerfile), InvalidError (build fails)."""
        target = image_refs.normalize(name)
        if target.digest:
            raise InvalidError(f'cannot build "{name}": a name with a digest cannot be given')
        program = await asyncio.to_thread(shutil.which, self._space.settings.buildah)
        if program is None:
            raise UnavailableError("cannot build: buildah is not installed (install the package buildah)")
        path, text = await asyncio.to_thread(_read_containerfile, context, containerfile)
        bases = [await self._ensure_base(base) for base in find_base_images(text)]
        async with self._space.work("build") as work, self._alone():
            failpoint.hit(FP_EXPORT)
            for image, ref in bases:
                await self._export(work, image, ref)
            failpoint.hit(FP_BUILD)
            await self._run_buildah(program, context, path, str(target), work, output)
            failpoint.hit(FP_IMPORT)
            return await self._import(work, str(target))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One build at a time on the machine; buildah's mounts do not outlive it, whatever became of buildah."""
        async with self._one_at_a_time:
            with ExitStack() as stack:
                if not await asyncio.to_thread(stack.enter_context, self._space.content.build_lock()):
                    raise UnavailableError("cannot build: another podhost instance is building; try again")
                try:
                    yield
                finally:
                    await asyncio.shield(asyncio.to_thread(mount.unmount_tree, self._root))

    async def _ensure_base(self, base: str) -> tuple[Image, str]:
        image = self._find(base)
        if image is None:
            try:
                image = await self._pull(base)
            except ImagePullError as error:
                raise InvalidError(f'cannot build: cannot get the base image "{base}": {error}') from error
        return image, str(image_refs.normalize(base))

    def _storage(self) -> str:
        return f"[{self._driver()}@{self._root / 'root'}+{self._root / 'run'}]"

    def _driver(self) -> str:
        """overlayfs cannot keep its upper directory on overlayfs."""
        holder = max(
            (item for item in mount.mounts() if self._root.is_relative_to(item.mount_point)),
            key=lambda item: len(str(item.mount_point)),
        )
        return "vfs" if holder.fstype == "overlay" else "overlay"

    async def _export(self, work: Work, image: Image, ref: str) -> None:
        """Give buildah a base under its full name; quick when it has these layers already."""
        record = self._space.metadata.catalog().records[image.id]
        layout = work.staging / f"base-{image.id[7:19]}"
        size = len(await asyncio.to_thread(self._space.content.read_blob, record.manifest_digest))
        await asyncio.to_thread(write_layout, layout, record.manifest_digest, size)
        name = ref if "@" not in ref else ref.replace("@sha256:", ":")
        target = f"containers-storage:{self._storage()}{name}"
        try:
            await self._space.skopeo.copy_from_layout(layout, self._space.content.blobs_dir, target, work.lock_fd)
        except SkopeoError as error:
            raise _failure(f'cannot give base image "{ref}" to buildah', str(error)) from error

    async def _run_buildah(
        self,
        program: str,
        context: Path,
        containerfile: Path,
        target: str,
        work: Work,
        output: Callable[[bytes], None] | None,
    ) -> None:
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            del lines[:-_ERROR_LINES]
            if output is not None:
                output(line.encode() + b"\n")

        argv = [program, "--root", str(self._root / "root"), "--runroot", str(self._root / "run")]
        argv += ["--storage-driver", self._driver(), "build", "--isolation", "chroot", "--network", "host"]
        argv += ["--layers", "--force-rm", "--format", "oci", "-f", str(containerfile), "-t", target]
        configuration = await asyncio.to_thread(_write_registries_conf, work.staging)
        environ = {**os.environ, "TMPDIR": str(work.staging), "CONTAINERS_REGISTRIES_CONF": str(configuration)}
        # A step that waits for ever would keep it for ever.  Without the lock: what a step has started may live on.
        completed = await spawn.run_lines([*argv, str(context)], on_line, env=environ, check=False, dies_with_us=True)
        if completed.returncode != 0:
            # Who reads the output has seen the lines before.
            said = "\n".join(lines) if output is None else "".join(lines[-1:])
            raise _failure(f'cannot build "{target}"', said or "buildah failed")

    async def _import(self, work: Work, target: str) -> ImageRecord:
        content = self._space.content
        try:
            manifest_digest = await self._space.skopeo.copy_to_layout(
                f"containers-storage:{self._storage()}{target}",
                work.staging / "result",
                content.blobs_dir,
                lock_fd=work.lock_fd,
            )
        except SkopeoError as error:
            raise _failure(f'cannot import "{target}" from buildah', str(error)) from error
        record = await asyncio.to_thread(self._space.read_record, manifest_digest)
        await ensure_unpacked(content, record.layers, work.lock_fd)
        failpoint.hit(FP_COMMIT)
        await asyncio.to_thread(self._space.metadata.add_image, record, names=[target], repo_digests=[], local=True)
        return record


def _failure(what: str, cause: str) -> InvalidError | ExhaustedError:
    return (ExhaustedError if is_disk_full(cause) else InvalidError)(f"{what}: {cause}")


def _read_containerfile(context: Path, containerfile: Path | None) -> tuple[Path, str]:
    candidates = [containerfile] if containerfile else [context / name for name in _FILE_NAMES]
    for path in candidates:
        try:
            return path, path.read_text()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidError(f'cannot read "{path}": {error}') from error
    raise NotFoundError(f'cannot build "{context}": no {" or ".join(str(path.name) for path in candidates)} in it')


def _write_registries_conf(directory: Path) -> Path:
    """Short names mean Docker Hub here, whatever the host's aliases say; bases are in the store already."""
    path = directory / "registries.conf"
    path.write_text('unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n')
    return path
