"""StartContainer: conmon, the OCI runtime's create, its start, the record."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from podhost.aiokit import failpoint
from podhost.aiokit.completion import run_in_thread_to_end, run_to_end
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerEventType, ContainerStartError, ContainerState
from podhost.errors import ConflictError, PodhostError
from podhost.linux import spawn
from podhost.linux.fs import remove_tree
from podhost.linux.mount import forbid_devices
from podhost.linux.namespaces import run_in_namespace
from podhost.linux.null_device import restore_null_device
from podhost.linux.pidfd import ProcessId, identify, open_pidfd, send_signal
from podhost.runtime.conmon import ConmonReport, build_conmon_argv, run_conmon
from podhost.runtime.container_create import SECCOMP_KEY_FILE
from podhost.runtime.container_exit import clean_up_runtime
from podhost.runtime.context import RuntimeContext
from podhost.runtime.oci_runtime import build_argv, build_start_error
from podhost.runtime.records import ContainerRecord, build_exited_record, compute_container_state
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
    failpoint.hit(_MONITOR)
    report = await _create_in_runtime(ctx, entry)
    record = await run_in_thread_to_end(_start_created, ctx, entry.record, report)
    if record is None:
        record = await run_to_end(_start_by_command(ctx, entry.record, report))
    ctx.registry.replace_container(entry, record)
    ctx.monitor.watch(record.id, monitor=record.monitor, process=record.process)


async def _create_in_runtime(ctx: RuntimeContext, entry: ContainerEntry) -> ConmonReport:
    """conmon with the runtime's ``create``."""
    record, bundle = entry.record, ctx.paths.bundle(entry.record.id)
    try:
        report = await run_conmon(
            build_conmon_argv(ctx.settings, ctx.runtime_of(record), ctx.paths, record),
            cgroup_path=ctx.paths.monitor_cgroup,
            stderr_path=bundle.root / "conmon.log",
            pid_file=bundle.conmon_pid_file,
            timeout_s=ctx.settings.create_timeout_s,
        )
    except TimeoutError as error:
        raise ContainerStartError(
            f"OCI runtime create failed: nothing was heard of it in {ctx.settings.create_timeout_s:g} s"
        ) from error
    finally:
        _restore_null_device(Path("/"))
    if report.pid < 0:
        command = await asyncio.to_thread(_read_command, ctx, record.id)
        raise build_start_error(ctx.runtime_of(record), report.message, command)
    return report


def _start_created(ctx: RuntimeContext, record: ContainerRecord, report: ConmonReport) -> ContainerRecord | None:
    """Keep the compiled filter, start, record; ``None`` where the runtime's own command must start it.  Blocking."""
    bundle = ctx.paths.bundle(record.id)
    # It may be the host's: in a user namespace, or through a hostPath of /dev.  The container waits for its start.
    _restore_null_device(Path(f"/proc/{report.pid}/root"))
    if not (ctx.host.limits_devices or record.config.security.privileged):
        # No rules deny what a hostile image has; and OCI runtimes take this option from the root if it has it before.
        run_in_namespace(Path(f"/proc/{report.pid}/ns/mnt"), "mnt", lambda: forbid_devices(Path("/")))
    with suppress(FileNotFoundError):
        key = (bundle.root / SECCOMP_KEY_FILE).read_text()
        ctx.filters.learn(key, ctx.paths.oci_state(record.id) / "seccomp.bpf")
    failpoint.hit(_CREATED)
    started = _build_started_record(ctx, record, report)
    if ctx.runtime_of(record).kind != "crun" or not open_start_fifo(ctx.paths.oci_state(record.id) / "exec.fifo"):
        return None
    failpoint.hit(_STARTED)
    ctx.registry.files.save_container(started)
    failpoint.hit(_RECORD)
    return started


def _restore_null_device(root: Path) -> None:
    """conmon hands ``/dev/null`` to the runtime, whose user may own it now.  A few microseconds."""
    with suppress(OSError):
        restore_null_device(root)


def open_start_fifo(fifo: Path) -> bool:
    """All that ``crun start`` does, without its process (3 ms): the container waits for a byte in this fifo.

    False when nobody waits there; then crun itself shall say why.
    """
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fifo.unlink()
        os.write(fd, b"\0")
    finally:
        os.close(fd)
    return True


async def _start_by_command(ctx: RuntimeContext, record: ContainerRecord, report: ConmonReport) -> ContainerRecord:
    started = await asyncio.to_thread(_build_started_record, ctx, record, report)
    runtime = ctx.runtime_of(record)
    completed = await spawn.run(build_argv(runtime, ctx.paths, "start", record.id), check=False)
    if completed.returncode != 0:
        text = completed.stderr.decode(errors="replace")
        raise build_start_error(runtime, text, await asyncio.to_thread(_read_command, ctx, record.id))
    failpoint.hit(_STARTED)
    await asyncio.to_thread(ctx.registry.files.save_container, started)
    failpoint.hit(_RECORD)
    return started


def _build_started_record(ctx: RuntimeContext, record: ContainerRecord, report: ConmonReport) -> ContainerRecord:
    return replace(
        record,
        started_at_ns=ctx.clock.now_ns(),
        process=identify(report.pid),
        monitor=read_monitor(ctx, record.id),
    )


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
    await run_in_thread_to_end(end_unstarted, ctx, entry)
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
