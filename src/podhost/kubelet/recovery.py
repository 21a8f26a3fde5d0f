"""What is left on the machine of pods that are no longer in the store: stopped and removed at start-up."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable
from pathlib import Path

from podhost.cri.ids import PodUID, SandboxId
from podhost.errors import PodhostError
from podhost.kubelet.node_context import NodeContext
from podhost.linux import fs

_log = logging.getLogger(__name__)


async def recover_orphans(context: NodeContext, live: set[PodUID]) -> None:
    """Remove sandboxes, volumes and files of all pods but ``live``.  One that fails does not stop the others."""
    sandboxes = [s for s in context.runtime.list_pod_sandboxes() if s.uid not in live]
    await asyncio.gather(*(_attempt("sandbox", s.id, _remove_sandbox(context, s.id)) for s in sandboxes))
    volumes = context.volumes.list_pods() - live
    await asyncio.gather(*(_attempt("volumes", u, context.volumes.unmount_volumes(u)) for u in volumes))
    await asyncio.to_thread(_remove_files, context.settings.log_dir, context.settings.state_dir, live)


async def _remove_sandbox(context: NodeContext, sandbox_id: SandboxId) -> None:
    await context.runtime.stop_pod_sandbox(sandbox_id)
    await context.runtime.remove_pod_sandbox(sandbox_id)


async def _attempt(what: str, name: str, call: Awaitable[None]) -> None:
    try:
        await call
    except (PodhostError, OSError) as error:
        _log.warning("cannot remove the orphaned %s %s: %s", what, name, error)


def _remove_files(log_dir: Path, state_dir: Path, live: set[PodUID]) -> None:
    for root, uid_of in ((log_dir, lambda name: name.rpartition("_")[2]), (state_dir, str)):
        for name in _list(root):
            if PodUID(uid_of(name)) in live:
                continue
            try:
                fs.remove_tree(root / name)
            except OSError as error:
                _log.warning("cannot remove the orphaned directory %s: %s", root / name, error)


def _list(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
