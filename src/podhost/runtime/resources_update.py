"""UpdateContainerResources, and the same of a pod's cgroup: limits of what runs, written to the kernel."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import ContainerState, LinuxResources
from podhost.errors import ConflictError, PodhostError
from podhost.linux import cgroup
from podhost.linux.usage import read_cgroup_use
from podhost.runtime.cgroup_limits import build_limits
from podhost.runtime.context import RuntimeContext
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.records import compute_container_state


async def update_container_resources(ctx: RuntimeContext, container_id: ContainerId, wanted: LinuxResources) -> None:
    """Raises ConflictError for a container that does not run, PodhostError when the kernel refuses."""
    entry = ctx.registry.container(container_id)
    async with entry.lock:
        record = entry.record
        if compute_container_state(record) is not ContainerState.RUNNING:
            raise ConflictError(f'cannot change the resources of container "{record.config.name}": it does not run')
        old = record.config.resources
        await asyncio.to_thread(_update, entry.cgroup, f'container "{record.config.name}"', old, wanted, ctx.host)
        kept = replace(wanted, oom_score_adj=old.oom_score_adj)
        await ctx.registry.update_container(entry, replace(record, config=replace(record.config, resources=kept)))


async def update_pod_sandbox_resources(ctx: RuntimeContext, sandbox_id: SandboxId, wanted: LinuxResources) -> None:
    """Raises PodhostError when the kernel refuses."""
    entry = ctx.registry.sandbox(sandbox_id)
    async with entry.lock:
        config = entry.record.config
        path = ctx.paths.pod_cgroup(config)
        await asyncio.to_thread(_update, path, "pod", config.resources, wanted, ctx.host, without_swap=False)
        await ctx.registry.update_sandbox(entry, replace(entry.record, config=replace(config, resources=wanted)))


def _update(
    path: str, whose: str, old: LinuxResources, wanted: LinuxResources, host: HostFacts, *, without_swap: bool = True
) -> None:
    limit = wanted.memory_limit_bytes or 0
    if "memory" in host.controllers and 0 < limit < (old.memory_limit_bytes or limit + 1):
        memory = read_cgroup_use(path).memory
        if memory is not None and memory.usage_bytes > limit:
            # The kernel would kill processes (version 2), or refuse in its own words (version 1).
            used = memory.usage_bytes
            raise PodhostError(f"attempting to set {whose} memory limit ({limit}) below current usage ({used})")
    limits = build_limits(wanted, host, without_swap=without_swap)
    problems = cgroup.set_limits(path, limits)
    if problems:
        raise PodhostError("; ".join(problems))
