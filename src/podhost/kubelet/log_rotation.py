"""Keeps container logs within their limit: rename, have the monitor open a new file, remove the oldest."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from podhost.api.time import from_ns
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.errors import PodhostError
from podhost.kubelet.log_reader import list_segments
from podhost.kubelet.node_context import NodeContext

_log = logging.getLogger(__name__)


async def rotate_logs(context: NodeContext) -> None:
    """One look at all running containers."""
    running = [c for c in context.runtime.list_containers() if c.state is ContainerState.RUNNING]
    limit = context.settings.log_max_size_bytes
    large = await asyncio.to_thread(_find_large, [c.log_path for c in running], limit)
    for container in running:
        if container.log_path in large:
            try:
                await rotate_log(context, container)
            except (PodhostError, OSError) as error:
                _log.warning("cannot rotate %s: %s", container.log_path, error)


def _find_large(paths: list[Path], limit: int) -> set[Path]:
    large = set()
    for path in paths:
        try:
            if path.stat().st_size > limit:
                large.add(path)
        except OSError:
            continue
    return large


async def rotate_log(context: NodeContext, container: ContainerStatus) -> None:
    """Rename ``0.log`` to ``0.log.<time>`` and reopen; a reopen that fails renames back."""
    path = container.log_path
    rotated = path.with_name(f"{path.name}.{from_ns(context.clock.now_ns()):%Y%m%d-%H%M%S-%f}")
    await asyncio.to_thread(os.rename, path, rotated)
    try:
        await context.runtime.reopen_container_log(container.id)
    except BaseException:
        await asyncio.to_thread(os.rename, rotated, path)
        raise
    await asyncio.to_thread(_remove_oldest, path, context.settings.log_max_files)


def _remove_oldest(path: Path, keep: int) -> None:
    for old in list_segments(path)[:-keep]:
        old.unlink(missing_ok=True)
