"""One pull, step by step.

1. resolve  - read the manifest (list) as the registry has it: its kind is checked, its digest is the repo digest
2. fetch    - copy that digest into the shared blobs; what is there already is not fetched again
3. verify   - read manifest and configuration back
4. unpack   - layers that are missing, in a child process
5. commit   - layers by rename, then the names, in one transaction

A failure leaves whole blobs behind, for the retry; everything else is staged and goes away.  So does a pull that a
registry keeps waiting: neither step 1 nor a pause between bytes of step 2 may take longer than the limit for idleness.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podhost.aiokit import failpoint
from podhost.api.image_refs import ImageRef
from podhost.cri.images import AuthConfig, ImagePullError, ProgressCallback, PullProgress
from podhost.errors import ExhaustedError, InvalidError, PodhostError
from podhost.images import records
from podhost.images.content import DamagedBlobError
from podhost.images.pull_errors import build_pull_error, is_auth_failure
from podhost.images.records import ImageRecord
from podhost.images.registry_auth import (
    build_auth_file,
    build_other_auths,
    is_loopback,
    list_auth_files,
    read_auth_documents,
    select_auths,
)
from podhost.images.skopeo import SkopeoError, SourceOptions
from podhost.images.unpack import ensure_unpacked
from podhost.images.workspace import Work, Workspace
from podhost.linux import fs

FP_RESOLVE = failpoint.register("image.pull.01-resolve")
FP_FETCH = failpoint.register("image.pull.02-fetch")
FP_COMMIT = failpoint.register("image.pull.06-commit-names")

_SAMPLE_S = 0.2
_SIZES_LIMIT_S = 30.0
_PARTIAL_BLOBS = "oci-put-blob*"


class ProgressReporter:
    """Keeps the present state of a pull and tells it when it changes."""

    def __init__(self, ref: str, callback: ProgressCallback) -> None:
        self._state = PullProgress(ref=ref, phase="resolving")
        self._callback = callback
        callback(self._state)

    def on_download(self, done_bytes: int, total_bytes: int) -> None:
        self._set(replace(self._state, phase="downloading", done_bytes=done_bytes, total_bytes=total_bytes))

    def on_layer(self, done: int, total: int) -> None:
        self._set(replace(self._state, phase="unpacking", layers_done=done, layers_total=total))

    def on_done(self) -> None:
        self._set(replace(self._state, phase="done", done_bytes=self._state.total_bytes))

    def _set(self, state: PullProgress) -> None:
        if state != self._state:
            self._state = state
            self._callback(state)


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A reference pinned to content, and the way there that worked."""

    pinned: ImageRef
    raw: bytes
    options: SourceOptions


class Pull:
    """Fetches one reference.  ``fetched`` tells the blobs of the image, for cleaning up after a full disk."""

    def __init__(
        self,
        workspace: Workspace,
        ref: ImageRef,
        auths: tuple[AuthConfig, ...],
        reporter: ProgressReporter,
        spawn_task: Callable[..., asyncio.Task[None]],
    ) -> None:
        self._space = workspace
        self._ref = ref
        self._given = auths
        self._auths = select_auths(auths, ref.domain)
        self._reporter = reporter
        self._idle_limit_s = workspace.settings.pull_idle_limit_s
        self._spawn_task = spawn_task

    async def run(self) -> ImageRecord:
        """Raises ImagePullError."""
        try:
            async with self._space.work("pull") as work:
                return await self._run(work)
        except SkopeoError as error:
            raise build_pull_error(str(self._ref), str(error)) from error
        except ImagePullError:
            raise
        except TimeoutError as error:
            text = f"nothing has come from the registry for {self._idle_limit_s:g} s: context canceled"
            raise ImagePullError(f'failed to pull and unpack image "{self._ref}": {text}') from error
        except (PodhostError, OSError) as error:
            raise self._wrap(error) from error

    def _wrap(self, error: Exception) -> ImagePullError:
        text = str(error)
        if isinstance(error, OSError):
            text = error.strerror or text
        return ImagePullError(f'failed to pull and unpack image "{self._ref}": {text}')

    async def _run(self, work: Work) -> ImageRecord:
        failpoint.hit(FP_RESOLVE)
        resolved = await self._resolve(work)
        try:
            record = await self._fetch_and_unpack(work, resolved, "first")
        except DamagedBlobError:
            # A blob of an earlier pull was bad; it is deleted, so this time it is fetched.
            record = await self._fetch_and_unpack(work, resolved, "second")
        failpoint.hit(FP_COMMIT)
        pinned = str(resolved.pinned)
        names = [pinned if self._ref.digest else str(self._ref)]
        await asyncio.to_thread(self._space.metadata.add_image, record, names=names, repo_digests=[pinned], local=False)
        self._reporter.on_done()
        return record

    async def _resolve(self, work: Work) -> _Resolved:
        wanted = self._ref.with_digest(self._ref.digest) if self._ref.digest else self._ref
        candidates = await asyncio.to_thread(self._write_auth_files, work.staging)
        for index, auth_file in enumerate(candidates):
            options = SourceOptions(auth_file=auth_file, verify_tls=not is_loopback(self._ref.domain))
            try:
                raw = await self._space.skopeo.inspect_raw(str(wanted), options, self._idle_limit_s)
            except SkopeoError as error:
                # As the kubelet: the next pull secret may fit.
                if index + 1 < len(candidates) and is_auth_failure(str(error)):
                    continue
                raise
            document = records.check_manifest_kind(raw)
            architecture = records.host_architecture()
            if "manifests" in document and records.select_platform(document, architecture) is None:
                raise InvalidError(f"no match for platform in manifest: want linux/{architecture}: not found")
            pinned = self._ref.with_digest(records.compute_digest(raw))
            return _Resolved(pinned, raw, options)
        raise AssertionError("there is always a candidate")

    def _write_auth_files(self, staging: Path) -> list[Path | None]:
        """One for each of the given credentials; without any, skopeo finds its own."""
        if not self._given:
            return [None]
        documents = read_auth_documents(list_auth_files(os.environ, Path.home(), os.geteuid()))
        domain = self._ref.domain
        others = build_other_auths(self._given, domain, documents)
        paths: list[Path | None] = []
        for index, auth in enumerate(self._auths):
            path = staging / f"auth-{index}.json"
            fs.write_atomic(path, build_auth_file(auth, domain, others), mode=0o600)
            paths.append(path)
        return paths or [self._write_others(staging, others)]

    def _write_others(self, staging: Path, others: Mapping[str, Any]) -> Path:
        path = staging / "auth.json"
        fs.write_atomic(path, json.dumps(others).encode(), mode=0o600)
        return path

    async def _fetch_and_unpack(self, work: Work, resolved: _Resolved, attempt: str) -> ImageRecord:
        failpoint.hit(FP_FETCH)
        layout = work.staging / attempt
        source = f"docker://{resolved.pinned}"
        async with self._watch_download(layout, resolved):
            manifest_digest = await self._space.skopeo.copy_to_layout(
                source, layout, self._space.content.blobs_dir, resolved.options, work.lock_fd
            )
        record = await asyncio.to_thread(self._space.read_record, manifest_digest)
        await ensure_unpacked(self._space.content, record.layers, work.lock_fd, self._reporter.on_layer)
        return record

    @asynccontextmanager
    async def _watch_download(self, layout: Path, resolved: _Resolved) -> AsyncIterator[None]:
        """Report how much has come while skopeo works; skopeo itself tells nothing without a terminal.

        Raises TimeoutError when nothing comes any more.
        """
        self._reporter.on_download(0, 0)
        async with asyncio.timeout(self._idle_limit_s) as limit:
            task = self._spawn_task(self._sample(layout, resolved, limit), name=f"pull progress {self._ref}")
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def _sample(self, layout: Path, resolved: _Resolved, limit: asyncio.Timeout) -> None:
        sizes = await self._find_sizes(resolved)
        total = sum(sizes.values())
        before = 0
        while True:
            done = await asyncio.to_thread(self._count_bytes, layout, sizes)
            if done != before and not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time() + self._idle_limit_s)
            before = done
            self._reporter.on_download(min(done, total) if total else done, total)
            await asyncio.sleep(_SAMPLE_S)

    async def _find_sizes(self, resolved: _Resolved) -> dict[str, int]:
        document = records.parse_document(resolved.raw, "the manifest")
        try:
            if "manifests" in document:
                child = records.select_platform(document, records.host_architecture())
                ref = str(resolved.pinned.with_digest(child or ""))
                limit_s = min(_SIZES_LIMIT_S, self._idle_limit_s / 2)
                raw = await self._space.skopeo.inspect_raw(ref, resolved.options, limit_s)
                document = records.parse_document(raw, "the manifest")
            return records.layer_sizes(document)
        except (PodhostError, TimeoutError, KeyError, TypeError, ValueError):
            return {}  # only the progress bar is poorer

    def _count_bytes(self, layout: Path, sizes: dict[str, int]) -> int:
        done = sum(size for digest, size in sizes.items() if self._space.content.has_blob(digest))
        for path in layout.glob(_PARTIAL_BLOBS):
            try:
                done += path.stat().st_size
            except FileNotFoundError:
                pass
        return done


def is_disk_full(error: BaseException) -> bool:
    """Whether a failed pull (or what caused it) ran out of space."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ExhaustedError) or "no space left on device" in str(cause).lower():
            return True
        cause = cause.__cause__
    return False
