"""Unpack the layers of an image in a child process, several at once, and commit them by chain id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from podhost.aiokit import failpoint
from podhost.cri.ids import ChainId
from podhost.errors import ExhaustedError, InvalidError, NotFoundError, PodhostError
from podhost.images.content import ContentStore, DamagedBlobError
from podhost.images.records import Layer, detect_compression
from podhost.linux import fs, spawn

FP_UNPACK = failpoint.register("image.pull.04-unpack")
FP_COMMIT_LAYERS = failpoint.register("image.pull.05-commit-layers")

OnLayer = Callable[[int, int], None]
"""(layers unpacked, layers in all)."""


async def ensure_unpacked(
    content: ContentStore, layers: Sequence[Layer], lock_fd: int, on_layer: OnLayer | None = None
) -> list[ChainId]:
    """Unpack what is missing; returns the chain ids that are new.

    Raises:
        DamagedBlobError: A blob was not what its digest says; it is deleted.
        ExhaustedError: The disk is full.
        InvalidError: A layer is no tar that can be applied.
    """
    missing = [layer for layer in layers if not content.has_snapshot(layer.chain_id)]
    if on_layer is not None:
        on_layer(len(layers) - len(missing), len(layers))
    if not missing:
        return []
    failpoint.hit(FP_UNPACK)
    staging = await asyncio.to_thread(content.make_staging, "unpack")
    try:
        done = len(layers) - len(missing)

        def on_done() -> None:
            nonlocal done
            done += 1
            if on_layer is not None:
                on_layer(done, len(layers))

        results = await _run_child(content, missing, staging, lock_fd, on_done)
        failpoint.hit(FP_COMMIT_LAYERS)
        await asyncio.to_thread(_commit, content, layers, staging, results)
    finally:
        await asyncio.to_thread(fs.remove_tree, staging)
    return [layer.chain_id for layer in missing]


def _staged(staging: Path, layer: Layer) -> Path:
    return staging / layer.chain_id.partition(":")[2]


async def _run_child(
    content: ContentStore, layers: Sequence[Layer], staging: Path, lock_fd: int, on_done: Callable[[], None]
) -> dict[str, dict[str, Any]]:
    jobs = b"".join(_build_job(content, layer, staging) for layer in layers)
    results: dict[str, dict[str, Any]] = {}

    def on_line(line: str) -> None:
        if not line.startswith("{"):
            return
        answer = json.loads(line)
        results[answer["id"]] = answer
        if "error" not in answer:
            on_done()

    argv = spawn.build_python_argv("podhost.images.unpack_main")
    completed = await spawn.run_lines(argv, on_line, input=jobs, pass_fds=(lock_fd,), check=False)
    for layer in layers:
        answer = results.get(layer.chain_id)
        if answer is None:
            said = completed.stderr.decode(errors="replace").strip().splitlines()[-1:]
            how = spawn.describe_exit(completed.returncode)
            raise PodhostError(f"cannot unpack layer {layer.digest}: {how}: {''.join(said)}")
        if "error" in answer:
            await asyncio.to_thread(_raise_failure, content, layer, answer)
        _check_size(content, layer)
    return results


def _check_size(content: ContentStore, layer: Layer) -> None:
    """Of a blob whose digest is right, so that it is the manifest that is wrong.  Raises InvalidError."""
    size = content.find_blob_size(layer.digest)
    if size not in (None, layer.size_bytes):
        text = f"it has {size} bytes, the manifest says {layer.size_bytes}"
        raise InvalidError(f"cannot unpack layer {layer.digest}: {text}")


def _build_job(content: ContentStore, layer: Layer, staging: Path) -> bytes:
    blob = content.blob_path(layer.digest)
    try:
        with blob.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError as error:
        raise NotFoundError(f"cannot unpack layer {layer.digest}: it is not in the store") from error
    target = _staged(staging, layer) / "fs"
    target.mkdir(parents=True)
    target.chmod(0o755)
    job = {
        "id": layer.chain_id,
        "blob": str(blob),
        "target": str(target),
        "compression": detect_compression(head),
        "digest": layer.digest,
        "diff_id": layer.diff_id,
    }
    return json.dumps(job).encode() + b"\n"


def _raise_failure(content: ContentStore, layer: Layer, answer: dict[str, Any]) -> None:
    text = f"cannot unpack layer {layer.digest}: {answer['error']}"
    if answer["kind"] == "digest":
        content.delete_blob(layer.digest)
        raise DamagedBlobError(text)
    if answer.get("errno") in ("ENOSPC", "EDQUOT"):
        raise ExhaustedError(text)
    raise (InvalidError if answer["kind"] in ("tar", "os") else PodhostError)(text)


def _commit(content: ContentStore, layers: Sequence[Layer], staging: Path, results: dict[str, dict[str, Any]]) -> None:
    """Lowest first: a layer that is there has all layers below it."""
    below: list[Path] = []
    for layer in layers:
        answer = results.get(layer.chain_id)
        staged = _staged(staging, layer)
        # A duplicate chain cannot be, but another daemon may have been quicker.
        if answer is not None and staged.is_dir():
            content.copy_implied_attributes(staged / "fs", answer["implied"], below)
            content.commit_snapshot(staged, layer.chain_id, size_bytes=int(answer["size"]))
        below.insert(0, content.layer_dir(layer.chain_id))
