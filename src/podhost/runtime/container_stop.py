"""StopContainer and RemoveContainer."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerEventType, ContainerState
from podhost.errors import UnavailableError
from podhost.linux.pidfd import open_pidfd, send_signal
from podhost.runtime.container_create import remove_bundle
from podhost.runtime.container_start import end_unstarted
from podhost.runtime.context import RuntimeContext
from podhost.runtime.members import kill_members
from podhost.runtime.records import compute_container_state
from podhost.runtime.registry import ContainerEntry

_SIGNAL = failpoint.register("container.stop.01-signal")
_KILL = failpoint.register("container.stop.02-kill")
_REMOVE_STOPPED = failpoint.register("container.remove.01-stopped")
_REMOVE_FILES = failpoint.register("container.remove.02-files")
_REMOVE_SNAPSHOT = failpoint.register("container.remove.03-snapshot")
_REMOVE_RECORD = failpoint.register("container.remove.04-record")

_KILL_DEADLINE_S = 15.0


async def stop_container(ctx: RuntimeContext, container_id: ContainerId, grace_s: float) -> None:
    """Stop signal, SIGKILL after ``grace_s``; returns when the exit is recorded.  Idempotent.

    A second call with a shorter grace shortens the first.

    Raises:
        UnavailableError: It does not die even of SIGKILL (uninterruptible sleep).
    """
    entry = ctx.registry.find_container(container_id)
    if entry is None:
        return
    async with entry.lock:
        pass  # a start under way ends first
    if compute_container_state(entry.record) is not ContainerState.RUNNING:
        return
    kill_at_s = asyncio.get_running_loop().time() + max(0.0, grace_s)
    first = entry.kill_at_s is None
    if entry.kill_at_s is None or kill_at_s < entry.kill_at_s:
        entry.kill_at_s = kill_at_s
        entry.changed.set()
    try:
        if grace_s > 0 and first:
            await asyncio.to_thread(signal_container, entry, parse_signal(entry.record.stop_signal))
            failpoint.hit(_SIGNAL)
        await _wait_until_killed(ctx, entry)
    finally:
        if first:
            entry.kill_at_s = None


async def _wait_until_killed(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    loop = asyncio.get_running_loop()
    while not entry.exited.is_set() and entry.kill_at_s is not None and loop.time() < entry.kill_at_s:
        entry.changed.clear()
        try:
            async with asyncio.timeout_at(entry.kill_at_s):
                await entry.changed.wait()
        except TimeoutError:
            break
    if entry.exited.is_set():
        return
    await asyncio.to_thread(kill_container, ctx, entry)
    failpoint.hit(_KILL)
    try:
        async with asyncio.timeout(_KILL_DEADLINE_S):
            await entry.exited.wait()
    except TimeoutError:
        raise UnavailableError(
            f'cannot kill container "{entry.record.config.name}" ({entry.record.id}): it is still there '
            f"{_KILL_DEADLINE_S:g} s after SIGKILL"
        ) from None


def parse_signal(text: str) -> int:
    """``SIGTERM``, ``TERM``, ``RTMIN+3`` or ``15``; anything else is SIGTERM, as containers must be stoppable."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isdigit() and 1 <= int(name) <= int(signal.SIGRTMAX):
        return int(name)
    base, plus, offset = name.partition("+")
    if base == "RTMIN" and (not plus or offset.isdigit()):
        return int(signal.SIGRTMIN) + int(offset or 0)
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        return int(signal.SIGTERM)


def signal_container(entry: ContainerEntry, number: int) -> None:
    """Signal the container's first process, if it is still the one that was started.  Blocking."""
    fd = None if entry.record.process is None else open_pidfd(entry.record.process)
    if fd is not None:
        try:
            send_signal(fd, number)
        finally:
            os.close(fd)


def kill_container(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    """SIGKILL to the first process, and to all others where its PID namespace is not its own.  Blocking."""
    signal_container(entry, int(signal.SIGKILL))
    sandbox = ctx.registry.find_sandbox(entry.record.sandbox_id)
    config = None if sandbox is None else sandbox.record.config
    if config is not None and (config.host_pid or config.share_process_namespace):
        kill_members(ctx.paths, entry.record.id, entry.cgroup)


async def remove_container(ctx: RuntimeContext, container_id: ContainerId) -> None:
    """Kill it if it runs, then remove layer, bundle, logs and, last, the record.  Idempotent."""
    entry = ctx.registry.find_container(container_id)
    if entry is None:
        return
    await stop_container(ctx, container_id, 0)
    async with entry.lock:
        if ctx.registry.find_container(container_id) is not entry:
            return
        failpoint.hit(_REMOVE_STOPPED)
        await asyncio.to_thread(_remove_files, ctx, entry)
        failpoint.hit(_REMOVE_FILES)
        await ctx.snapshotter.remove(container_id)
        failpoint.hit(_REMOVE_SNAPSHOT)
        await ctx.registry.drop_container(entry)
        failpoint.hit(_REMOVE_RECORD)
    ctx.registry.emit(ContainerEventType.DELETED, entry)


def _remove_files(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    end_unstarted(ctx, entry)
    remove_bundle(ctx.paths.bundle(entry.record.id))
    remove_logs(entry.record.config.log_path)


def remove_logs(log_path: Path) -> None:
    """The log, its rotated parts, and its directory with the last one.  Blocking."""
    log_path.unlink(missing_ok=True)
    try:
        for name in os.listdir(log_path.parent):
            if name.startswith(f"{log_path.name}."):
                (log_path.parent / name).unlink(missing_ok=True)
        log_path.parent.rmdir()
    except OSError:
        pass  # other attempts have their logs there, or the last of them has just taken the directory along
