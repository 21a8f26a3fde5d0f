"""Start-up: records, disk and kernel are compared.

=====================================================  ====================================================
found                                                  done
=====================================================  ====================================================
record of a running container, exit file               exit recorded with its code and time
… conmon or the container's process alive              watched again
… neither                                              exit recorded as unknown (255)
record of a created container, runtime state, no fifo  it was started just before the kill: recorded, watched
… runtime state with its start fifo                    the half-made start is ended; it stays created
sandbox of an earlier boot, or without its namespaces  stopped, with what still runs in it
a command beside a container's own process             ended: its session died with the daemon
anything without a record                              removed
=====================================================  ====================================================

One broken record or directory never stops it: failures are logged, and the next start tries again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from podhost.api.qos import QOS_CLASSES
from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import ContainerState
from podhost.linux import cgroup, mount
from podhost.linux.fs import remove_tree
from podhost.linux.namespaces import unpin_namespaces
from podhost.linux.pidfd import ProcessId, boot_id, identify, open_pidfd
from podhost.runtime.container_create import remove_bundle
from podhost.runtime.container_exit import clean_up_runtime, on_container_exit
from podhost.runtime.container_start import end_unstarted, read_monitor
from podhost.runtime.context import RuntimeContext
from podhost.runtime.exec import end_forgotten
from podhost.runtime.exit_monitor import read_exit_file
from podhost.runtime.members import is_member
from podhost.runtime.oci_runtime import remove_cgroup, remove_runtime_traces
from podhost.runtime.records import ContainerRecord, SandboxRecord, compute_container_state
from podhost.runtime.registry import ContainerEntry
from podhost.runtime.sandbox_stop import stop_pod_sandbox

_log = logging.getLogger(__name__)


async def recover(ctx: RuntimeContext) -> None:
    """Adopt, record, sweep.  Called once, after the exit monitor has started."""
    sandboxes, containers = await asyncio.to_thread(_load, ctx)
    lost = []
    for sandbox in sandboxes:
        ctx.registry.add_sandbox(sandbox)
        if not sandbox.stopped_at_ns and not await asyncio.to_thread(_is_sandbox_alive, ctx, sandbox):
            lost.append(sandbox.id)
    for container in containers:
        await _guard(f"container {container.id}", partial(_recover_container, ctx, container))
    live = {entry.record.id for entry in ctx.registry.sandboxes() if not entry.record.stopped_at_ns} - set(lost)
    await _guard("pod network", lambda: ctx.network.recover(live))
    for sandbox_id in lost:
        # Its containers may live on in namespaces that nothing holds by name any more.
        await _guard(f"sandbox {sandbox_id}", partial(stop_pod_sandbox, ctx, sandbox_id))
    await asyncio.to_thread(sweep, ctx)
    await _guard("writable layers", lambda: _sweep_snapshots(ctx))


async def _guard(what: str, step: Callable[[], Awaitable[None]]) -> None:
    try:
        await step()
    except Exception as error:
        _log.error("start-up: cannot recover %s: %s", what, error, exc_info=error)


def _load(ctx: RuntimeContext) -> tuple[list[SandboxRecord], list[ContainerRecord]]:
    return ctx.registry.files.load_sandboxes(), ctx.registry.files.load_containers()


def _is_sandbox_alive(ctx: RuntimeContext, record: SandboxRecord) -> bool:
    if record.boot_id != boot_id():
        return False
    paths = ctx.paths.sandbox(record.id)
    pinned = [path for path in paths.namespaces.glob("*") if not mount.is_mount_point(path)]
    if pinned or not paths.root.is_dir():
        return False
    return record.holder is None or _is_alive(record.holder)


def _is_alive(process: ProcessId | None) -> bool:
    fd = None if process is None else open_pidfd(process)
    if fd is None:
        return False
    os.close(fd)
    return True


async def _recover_container(ctx: RuntimeContext, record: ContainerRecord) -> None:
    sandbox = ctx.registry.find_sandbox(record.sandbox_id)
    if sandbox is None:
        # Its sandbox cannot be read: nobody can own it, so it goes with the sweep.
        await asyncio.to_thread(ctx.registry.files.delete_container, record.id)
        return
    pod = sandbox.record.config
    entry = ctx.registry.add_container(record, pod.uid, ctx.paths.pod_cgroup(pod))
    state = compute_container_state(record)
    if state is ContainerState.CREATED:
        await _recover_created(ctx, entry)
    elif state is ContainerState.RUNNING:
        await _recover_running(ctx, entry)
    else:
        await asyncio.to_thread(clean_up_runtime, ctx, entry)


async def _recover_created(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    started = await asyncio.to_thread(_find_started, ctx, entry)
    if started is None:
        await asyncio.to_thread(end_unstarted, ctx, entry)
        return
    await ctx.registry.update_container(entry, started)
    await _recover_running(ctx, entry)


def _find_started(ctx: RuntimeContext, entry: ContainerEntry) -> ContainerRecord | None:
    """The record of a container that was started but not recorded so, for the daemon was killed.  Blocking."""
    state = ctx.paths.oci_state(entry.record.id)
    if not state.is_dir() or (state / "exec.fifo").exists():
        return None
    try:
        pid = int(ctx.paths.bundle(entry.record.id).pid_file.read_text())
        # The start removes its fifo: the directory's time is that of the start.
        started_at_ns = state.stat().st_mtime_ns
    except (OSError, ValueError):
        return None
    process = identify(pid) if is_member(ctx.paths, entry.record.id, entry.cgroup, pid) else None
    if process is None and read_exit_file(ctx.paths.exit_file(entry.record.id)) is None:
        return None
    monitor = read_monitor(ctx, entry.record.id)
    return replace(entry.record, started_at_ns=started_at_ns, process=process, monitor=monitor)


async def _recover_running(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    record = entry.record
    fact = await asyncio.to_thread(read_exit_file, ctx.paths.exit_file(record.id))
    alive = await asyncio.to_thread(lambda: _is_alive(record.monitor) or _is_alive(record.process))
    if fact is not None or not alive:
        if fact is None:
            # It may have been written between the two looks.
            fact = await asyncio.to_thread(read_exit_file, ctx.paths.exit_file(record.id))
        await on_container_exit(ctx, record.id, fact)
    else:
        ctx.monitor.watch(record.id, monitor=record.monitor, process=record.process)


async def _sweep_snapshots(ctx: RuntimeContext) -> None:
    for key in await ctx.snapshotter.list_keys():
        # Those of volumes are let go with their pods.
        if ctx.registry.find_container(key) is None and not key.startswith("volume-"):
            await ctx.snapshotter.remove(key)


def sweep(ctx: RuntimeContext) -> None:
    """Remove what has no record.  Blocking."""
    containers = {entry.record.id for entry in ctx.registry.containers()}
    sandboxes = {entry.record.id for entry in ctx.registry.sandboxes()}
    _sweep_cgroups(ctx, containers, sandboxes)
    for path in _entries(ctx.paths.bundles):
        if path.name not in containers:
            _try(path, partial(remove_bundle, ctx.paths.bundle(ContainerId(path.name))))
    for path in _entries(ctx.paths.sandboxes):
        if path.name not in sandboxes:
            _try(path, partial(_remove_sandbox_directory, ctx, SandboxId(path.name)))
    for path in (*_entries(ctx.paths.oci_root), *_entries(ctx.paths.exits)):
        if path.name not in containers | sandboxes:
            _try(path, partial(remove_tree, path))
    for path in _entries(ctx.paths.execs):
        _try(path, partial(end_forgotten, ctx, path))


def _sweep_cgroups(ctx: RuntimeContext, containers: set[ContainerId], sandboxes: set[SandboxId]) -> None:
    pods = {ctx.paths.pod_cgroup(entry.record.config) for entry in ctx.registry.sandboxes()}
    for path in _pod_cgroups(ctx):
        for child in _child_cgroups(path):
            if child not in containers and child not in sandboxes:
                _try(f"{path}/{child}", partial(remove_runtime_traces, ctx.paths, child, f"{path}/{child}"))
        if path not in pods:
            _try(path, partial(remove_cgroup, path))


def _pod_cgroups(ctx: RuntimeContext) -> list[str]:
    parents = map(ctx.paths.qos_cgroup, QOS_CLASSES)
    return [f"{parent}/{name}" for parent in parents for name in _child_cgroups(parent) if name.startswith("pod")]


def _child_cgroups(path: str) -> list[str]:
    layout = cgroup.detect()
    directories = layout.directories(path)
    if layout.version == 1:
        directories.append(layout.root / "unified" / path.strip("/"))
    return sorted({child.name for directory in directories for child in _entries(directory) if child.is_dir()})


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_sandbox_directory(ctx: RuntimeContext, sandbox_id: SandboxId) -> None:
    paths = ctx.paths.sandbox(sandbox_id)
    unpin_namespaces(paths.namespaces)
    mount.unmount_tree(paths.root)
    remove_tree(paths.root)


def _try(what: object, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:
        _log.error("start-up: cannot sweep %s: %s", what, error, exc_info=error)
