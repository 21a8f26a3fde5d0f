"""What is left on the machine of pods that are gone: stopped and removed at start-up and at each relist."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from podhost.cri.ids import PodUID, SandboxId
from podhost.errors import PodhostError
from podhost.kubelet.node_context import NodeContext
from podhost.linux import fs

_log = logging.getLogger(__name__)


async def recover_orphans(context: NodeContext, is_live: Callable[[PodUID], bool]) -> None:
    """Remove sandboxes, volumes and files of pods that are not live.  One that fails does not stop the others.

    ``is_live`` is asked after each look at what is there: a pod that has come in between is live, and whatever
    is seen of a pod was made after the pod had come.
    """
    sandboxes = [s for s in context.runtime.list_pod_sandboxes() if not is_live(s.uid)]
    await asyncio.gather(*(_attempt("sandbox", s.id, _remove_sandbox(context, s.id)) for s in sandboxes))
    volumes = [uid for uid in context.volumes.list_pods() if not is_live(uid)]
    await asyncio.gather(*(_attempt("volumes", u, context.volumes.unmount_volumes(u)) for u in volumes))
    directories = await asyncio.to_thread(_list_directories, context.settings.log_dir, context.settings.state_dir)
    doomed = [path for path, uid in directories if not is_live(uid)]
    await asyncio.to_thread(_remove_directories, doomed)


async def _remove_sandbox(context: NodeContext, sandbox_id: SandboxId) -> None:
    await context.runtime.stop_pod_sandbox(sandbox_id)
    await context.runtime.remove_pod_sandbox(sandbox_id)


async def _attempt(what: str, name: str, call: Awaitable[None]) -> None:
    try:
        await call
    except (PodhostError, OSError) as error:
        _log.warning("cannot remove the orphaned %s %s: %s", what, name, error)


def _list_directories(log_dir: Path, state_dir: Path) -> list[tuple[Path, PodUID]]:
    logs = [(log_dir / name, PodUID(name.rpartition("_")[2])) for name in _list(log_dir)]
    return logs + [(state_dir / name, PodUID(name)) for name in _list(state_dir)]


def _remove_directories(paths: list[Path]) -> None:
    for path in paths:
        try:
            fs.remove_tree(path)
        except OSError as error:
            _log.warning("cannot remove the orphaned directory %s: %s", path, error)


def _list(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
