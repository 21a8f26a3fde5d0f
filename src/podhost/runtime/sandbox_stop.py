"""StopPodSandbox and RemovePodSandbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from podhost.aiokit import failpoint
from podhost.cri.ids import SandboxId
from podhost.linux.fs import remove_tree
from podhost.runtime.container_stop import remove_container, stop_container
from podhost.runtime.context import RuntimeContext
from podhost.runtime.pid_holder import stop_holder
from podhost.runtime.registry import SandboxEntry
from podhost.runtime.sandbox_run import remove_sandbox_files

_CONTAINERS = failpoint.register("sandbox.stop.01-containers")
_NETWORK = failpoint.register("sandbox.stop.02-network")
_RECORD = failpoint.register("sandbox.stop.03-record")
_REMOVE_CONTAINERS = failpoint.register("sandbox.remove.01-containers")
_REMOVE_FILES = failpoint.register("sandbox.remove.02-files")
_REMOVE_RECORD = failpoint.register("sandbox.remove.03-record")


async def stop_pod_sandbox(ctx: RuntimeContext, sandbox_id: SandboxId) -> None:
    """Kill what runs in it, give the network back, note that it has stopped.  Idempotent."""
    entry = ctx.registry.find_sandbox(sandbox_id)
    if entry is not None:
        async with entry.lock:
            await _stop(ctx, entry)


async def _stop(ctx: RuntimeContext, entry: SandboxEntry) -> None:
    if entry.record.stopped_at_ns:
        return
    record = entry.record
    containers = ctx.registry.containers_of_sandbox(record)
    await asyncio.gather(*(stop_container(ctx, container.record.id, 0) for container in containers))
    failpoint.hit(_CONTAINERS)
    if record.config.share_process_namespace:
        await stop_holder(ctx, record.id, record.config)
    if not record.config.host_network:
        await ctx.network.detach(record.id)
    failpoint.hit(_NETWORK)
    await ctx.registry.update_sandbox(entry, replace(record, stopped_at_ns=ctx.clock.now_ns()))
    failpoint.hit(_RECORD)


async def remove_pod_sandbox(ctx: RuntimeContext, sandbox_id: SandboxId) -> None:
    """Remove its containers and every trace of it.  Idempotent."""
    entry = ctx.registry.find_sandbox(sandbox_id)
    if entry is None:
        return
    async with entry.lock:
        if ctx.registry.find_sandbox(sandbox_id) is not entry:
            return
        await _stop(ctx, entry)
        record = entry.record
        containers = ctx.registry.containers_of_sandbox(record)
        await asyncio.gather(*(remove_container(ctx, container.record.id) for container in containers))
        failpoint.hit(_REMOVE_CONTAINERS)
        paths = ctx.paths.sandbox(sandbox_id)
        await asyncio.to_thread(remove_sandbox_files, ctx.paths, record.config, paths)
        await asyncio.to_thread(remove_tree, ctx.paths.oci_state(sandbox_id))
        failpoint.hit(_REMOVE_FILES)
        await ctx.registry.drop_sandbox(entry)
        failpoint.hit(_REMOVE_RECORD)


async def on_holder_exit(ctx: RuntimeContext, entry: SandboxEntry) -> None:
    """The shared PID namespace has lost its first process: the sandbox is not ready any more."""
    if not entry.record.stopped_at_ns:
        await stop_pod_sandbox(ctx, entry.record.id)
