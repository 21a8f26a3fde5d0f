"""StartContainer: conmon, the OCI runtime's create, its start, the record."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import replace

import msgspec

from podhost.aiokit import failpoint
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerEventType, ContainerStartError, ContainerState
from podhost.errors import ConflictError, PodhostError
from podhost.linux import spawn
from podhost.linux.fs import remove_tree
from podhost.linux.pidfd import ProcessId, identify, open_pidfd, send_signal
from podhost.runtime.conmon import ConmonReport, build_conmon_argv, run_conmon
from podhost.runtime.container_create import SECCOMP_KEY_FILE
from podhost.runtime.container_exit import clean_up_runtime
from podhost.runtime.context import RuntimeContext
from podhost.runtime.oci_runtime import build_argv, build_start_error
from podhost.runtime.records import build_exited_record, compute_container_state
from podhost.runtime.registry import ContainerEntry

_MONITOR = failpoint.register("container.start.01-monitor")
_CREATED = failpoint.register("container.start.02-created")
_STARTED = failpoint.register("container.start.03-started")
_RECORD = failpoint.register("container.start.04-record")


class _ProcessView(msgspec.Struct):
    args: list[str]


class _SpecView(msgspec.Struct):
    process: _ProcessView


async def start_container(ctx: RuntimeContext, container_id: ContainerId) -> None:
    """Run a created container under conmon.

    Raises:
        ContainerStartError: It was refused; the container is then EXITED.
        ConflictError: It is not in the state CREATED.
        NotFoundError: There is no such container.
    """
    entry = ctx.registry.container(container_id)
    async with entry.lock:
        state = compute_container_state(entry.record)
        if state is not ContainerState.CREATED or ctx.registry.find_container(container_id) is not entry:
            raise ConflictError(f'cannot start container "{container_id}": it is in state {state.value}')
        try:
            await _start(ctx, entry)
        except BaseException as error:
            await _undo_start(ctx, entry, error)
            raise
    ctx.registry.emit(ContainerEventType.STARTED, entry)


async def _start(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    record = entry.record
    failpoint.hit(_MONITOR)
    process, monitor = await _create_in_runtime(ctx, entry)
    failpoint.hit(_CREATED)
    started_at_ns = ctx.clock.now_ns()
    completed = await spawn.run(build_argv(ctx.settings, ctx.paths, "start", record.id), check=False)
    if completed.returncode != 0:
        text = completed.stderr.decode(errors="replace")
        raise build_start_error(ctx.settings, text, await asyncio.to_thread(_read_command, ctx, record.id))
    failpoint.hit(_STARTED)
    await ctx.registry.update_container(
        entry, replace(record, started_at_ns=started_at_ns, process=process, monitor=monitor)
    )
    failpoint.hit(_RECORD)
    ctx.monitor.watch(record.id, monitor=monitor, process=process)


async def _create_in_runtime(ctx: RuntimeContext, entry: ContainerEntry) -> tuple[ProcessId | None, ProcessId | None]:
    """conmon with the runtime's ``create``; returns container process and conmon."""
    record, bundle = entry.record, ctx.paths.bundle(entry.record.id)
    try:
        report = await run_conmon(
            build_conmon_argv(ctx.settings, ctx.paths, record),
            cgroup_path=ctx.paths.monitor_cgroup,
            stderr_path=bundle.root / "conmon.log",
            timeout_s=ctx.settings.create_timeout_s,
        )
    except TimeoutError as error:
        raise ContainerStartError(
            f"OCI runtime create failed: nothing was heard of it in {ctx.settings.create_timeout_s:g} s"
        ) from error
    if report.pid < 0:
        command = await asyncio.to_thread(_read_command, ctx, record.id)
        raise build_start_error(ctx.settings, report.message, command)
    return await asyncio.to_thread(_identify_and_learn, ctx, record.id, report)


def _identify_and_learn(
    ctx: RuntimeContext, container_id: ContainerId, report: ConmonReport
) -> tuple[ProcessId | None, ProcessId | None]:
    bundle = ctx.paths.bundle(container_id)
    monitor = read_monitor(ctx, container_id)
    with suppress(FileNotFoundError):
        key = (bundle.root / SECCOMP_KEY_FILE).read_text()
        ctx.filters.learn(key, ctx.paths.oci_state(container_id) / "seccomp.bpf")
    return identify(report.pid), monitor


def read_monitor(ctx: RuntimeContext, container_id: ContainerId) -> ProcessId | None:
    """conmon's identity by its pid file; ``None`` when it is gone.  Blocking."""
    try:
        return identify(int(ctx.paths.bundle(container_id).conmon_pid_file.read_text()))
    except (OSError, ValueError):
        return None


def _read_command(ctx: RuntimeContext, container_id: ContainerId) -> str:
    try:
        spec = msgspec.json.decode(ctx.paths.bundle(container_id).config.read_bytes(), type=_SpecView)
    except (OSError, msgspec.MsgspecError):
        return ""
    return spec.process.args[0] if spec.process.args else ""


async def _undo_start(ctx: RuntimeContext, entry: ContainerEntry, error: BaseException) -> None:
    """End what was begun and record the refusal; a container is started once, the kubelet makes a new one."""
    await asyncio.to_thread(end_unstarted, ctx, entry)
    refused = error if isinstance(error, ContainerStartError) else None
    record = build_exited_record(
        entry.record,
        finished_at_ns=ctx.clock.now_ns(),
        exit_code=refused.exit_code if refused else 128,
        reason=refused.reason if refused else "StartError",
        message=str(error) or type(error).__name__,
    )
    await ctx.registry.update_container(entry, record)
    ctx.registry.emit(ContainerEventType.STOPPED, entry)
    if isinstance(error, OSError | PodhostError) and refused is None:
        raise ContainerStartError(str(error)) from error


def end_unstarted(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    """Kill conmon and a container that was created in the runtime only; what it leaves is removed.  Blocking."""
    clean_up_runtime(ctx, entry)
    end_monitor(ctx, entry)
    # conmon may have written it meanwhile: no exit of a container that never started.
    remove_tree(ctx.paths.exit_file(entry.record.id))


def end_monitor(ctx: RuntimeContext, entry: ContainerEntry) -> None:
    """Kill conmon if it still runs: its container is gone.  Blocking."""
    monitor = read_monitor(ctx, entry.record.id)
    if monitor is None or not _is_monitor_of(monitor, entry.record.id):
        return
    _kill(monitor)


def _is_monitor_of(monitor: ProcessId, container_id: ContainerId) -> bool:
    """The pid file may be older than the process that has the number now."""
    with suppress(OSError), open(f"/proc/{monitor.pid}/cmdline", "rb") as file:
        return f"--cid={container_id}".encode() in file.read().split(b"\0")
    return False


def _kill(process: ProcessId) -> None:
    fd = open_pidfd(process)
    if fd is not None:
        send_signal(fd, signal.SIGKILL)
        os.close(fd)
