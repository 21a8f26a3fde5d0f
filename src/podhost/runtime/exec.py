"""Exec and ExecSync: a command beside the container's own process.

Every exec has a cgroup of its own below the container's, made beforehand and entered by the OCI runtime before
the command starts.  So all that it leaves can be found and killed at a deadline, whatever it has forked.
A terminal is the container's own: crun sends its other end over a socket.  runc refuses that for a process in
the foreground, so it gets a terminal of ours as its stdio and copies.  Without a terminal runc is detached, and
another program waits for the command (see :mod:`podhost.linux.detached_wait`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import secrets
import signal
import socket
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from podhost.aiokit import failpoint
from podhost.aiokit.completion import open_to_end, run_to_end
from podhost.aiokit.tasks import Tasks
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState, ExecResult, ExecSession
from podhost.errors import ConflictError, PodhostError, describe_cause
from podhost.linux import cgroup, detached_wait, spawn, strays
from podhost.linux.fs import remove_tree
from podhost.linux.null_device import open_empty_file
from podhost.runtime.context import RuntimeContext
from podhost.runtime.descriptors import Descriptors, wait_readable
from podhost.runtime.exec_command import find_command_problem
from podhost.runtime.exec_streams import InputWriter, OutputReader, StreamName
from podhost.runtime.oci_runtime import (
    build_argv,
    clean_message,
    describe_command_failure,
    drop_warnings,
    remove_cgroup,
)
from podhost.runtime.records import compute_container_state
from podhost.runtime.registry import ContainerEntry
from podhost.runtime.settings import OciRuntime

_log = logging.getLogger(__name__)

_MAX_OUTPUT_BYTES = 64 << 10
_RUNTIME_FAILED = (1, 255)
"""Exit codes of crun and runc when they, not the command, have failed; their log then says why."""
_PREPARED = failpoint.register("exec.10-prepared")
_STARTED = failpoint.register("exec.20-started")
_ENDED = failpoint.register("exec.30-ended")
_KILL_TRIES = 3


class _ProcessSpec(msgspec.Struct):
    process: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Files and cgroup of one exec."""

    directory: Path
    cgroup_path: str
    cgroup_name: str
    problem: tuple[str, int] | None
    runtime: OciRuntime

    @property
    def process_file(self) -> Path:
        return self.directory / "process.json"

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    @property
    def console_socket(self) -> Path:
        return self.directory / "tty"


class ContainerExec:
    """A running exec (see :class:`podhost.cri.runtime.ExecSession`)."""

    def __init__(
        self,
        ctx: RuntimeContext,
        prepared: _Prepared,
        command: str,
        output: OutputReader,
        stdin: InputWriter | None,
        terminal_fd: int | None,
    ) -> None:
        self._ctx = ctx
        self._prepared = prepared
        self._command = command
        self._output = output
        self._stdin = stdin
        self._terminal_fd = terminal_fd
        self._process: spawn.Process | None = None
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._closed = False
        self.failure: str | None = None
        """Why the command could not be run at all."""

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        return await self._output.read()

    async def write_stdin(self, data: bytes) -> None:
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._stdin is None:
            return
        if self._terminal_fd is not None:
            await self._stdin.write(b"\x04")  # a terminal has no end of its own; this is what a user would type
        else:
            await self._stdin.close_after_writes()

    async def resize(self, width: int, height: int) -> None:
        if self._terminal_fd is None:
            return
        try:
            termios.tcsetwinsize(self._terminal_fd, (height, width))
        except termios.error:
            return  # it has ended
        if self._process is not None and self._prepared.runtime.kind == "runc":
            self._process.send_signal(signal.SIGWINCH)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    async def close(self) -> None:
        """Kill what is left of it; what it printed and nobody read is dropped.

        A caller who goes away meanwhile waits for the end: nobody else would clean up.
        """
        if self._closed:
            return
        self._closed = True
        await run_to_end(self._kill_and_remove())

    async def _kill_and_remove(self) -> None:
        try:
            if not self._exit_code.done():
                await asyncio.to_thread(self._kill)
                if self._process is not None:
                    self._process.kill_session()
                await self.wait()
            # Also after the runtime's end: it may have put the command into the cgroup after the first look.
            await asyncio.to_thread(cgroup.kill, self._prepared.cgroup_path)
        finally:
            self._output.abort()
            await asyncio.to_thread(_remove, self._prepared)

    def _kill(self) -> None:
        """Blocking."""
        if cgroup.detect().version:
            cgroup.kill(self._prepared.cgroup_path)
        elif self._process is not None:
            strays.kill_descendants(self._process.pid)

    async def run(self, process: spawn.Process) -> None:
        """Follow the process to its end, then its output for a while."""
        self._process = process
        returncode = await process.wait()
        try:
            async with asyncio.timeout(self._ctx.settings.exec_drain_s):
                await self._output.wait_ended()
        except TimeoutError:
            pass  # a child keeps them open, or nobody reads
        self._output.finish()
        code = returncode if returncode >= 0 else 128 - returncode
        failure = await asyncio.to_thread(_read_failure, self._prepared, self._command)
        if failure is not None and code in _RUNTIME_FAILED:
            message, code = failure
            self.failure = message
            self._output.push("stdout" if self._terminal_fd is not None else "stderr", message.encode() + b"\n")
        self._finish(code)
        if self._stdin is not None:
            self._stdin.close()
        self._close_terminal()
        if not self._closed:
            await asyncio.to_thread(_remove, self._prepared)

    def fail(self, message: str, code: int) -> None:
        """The command cannot be run at all."""
        self.failure = message
        self._output.push("stderr", message.encode() + b"\n")
        if self._stdin is not None:
            self._stdin.close()
        self._finish(code)

    def _finish(self, code: int) -> None:
        if not self._exit_code.done():
            self._exit_code.set_result(code)

    def _close_terminal(self) -> None:
        if self._terminal_fd is not None:
            os.close(self._terminal_fd)
            self._terminal_fd = None


async def start_exec(
    ctx: RuntimeContext, container_id: ContainerId, command: tuple[str, ...], *, tty: bool, stdin: bool
) -> ExecSession:
    """Start a command in a running container.

    Raises:
        NotFoundError: There is no such container.
        ConflictError: It does not run.
    """
    return await _start(ctx, container_id, command, tty=tty, stdin=stdin)


async def _start(
    ctx: RuntimeContext, container_id: ContainerId, command: tuple[str, ...], *, tty: bool, stdin: bool
) -> ContainerExec:
    """A caller who goes away meanwhile leaves nothing that runs or lies about."""
    opening = _start_session(ctx, container_id, command, tty=tty, stdin=stdin)
    return await open_to_end(opening, ContainerExec.close)


async def _start_session(
    ctx: RuntimeContext, container_id: ContainerId, command: tuple[str, ...], *, tty: bool, stdin: bool
) -> ContainerExec:
    entry = ctx.registry.container(container_id)
    if compute_container_state(entry.record) is not ContainerState.RUNNING:
        raise ConflictError(f'cannot exec in container "{container_id}": it is not running')
    if not command:
        raise PodhostError("cannot exec: no command specified")
    try:
        prepared = await asyncio.to_thread(_prepare, ctx, entry, command, tty)
    except OSError as error:
        raise PodhostError(f'cannot exec in container "{container_id}": {describe_cause(error)}') from error
    if prepared.problem is not None:
        session = ContainerExec(ctx, prepared, command[0], OutputReader({}), None, None)
        session.fail(*prepared.problem)
        await asyncio.to_thread(_remove, prepared)
        return session
    try:
        failpoint.hit(_PREPARED)
        start = _start_with_terminal if tty else _start_with_pipes
        return await start(ctx, container_id, command[0], prepared, stdin)
    except BaseException:
        await asyncio.to_thread(_kill_and_remove, prepared)
        raise


async def _start_with_pipes(
    ctx: RuntimeContext, container_id: ContainerId, command: str, prepared: _Prepared, stdin: bool
) -> ContainerExec:
    with Descriptors() as fds:
        stdout_read, stdout_write = fds.pipe()
        stderr_read, stderr_write = fds.pipe()
        stdin_read, stdin_write = fds.pipe() if stdin else (fds.own(open_empty_file()), -1)
        argv = _build_exec_argv(ctx, container_id, prepared)
        if prepared.runtime.kind == "runc":
            argv = _build_detached_argv(argv, prepared)
        process = await spawn.start(
            argv, stdin=stdin_read, stdout=stdout_write, stderr=stderr_write, launcher=ctx.exec_launcher
        )
        names: dict[int, StreamName] = {fds.release(stdout_read): "stdout", fds.release(stderr_read): "stderr"}
        writer = InputWriter(fds.release(stdin_write)) if stdin else None
    session = ContainerExec(ctx, prepared, command, OutputReader(names), writer, None)
    ctx.tasks.spawn(session.run(process), name=f"exec:{container_id}")
    return session


async def _start_with_terminal(
    ctx: RuntimeContext, container_id: ContainerId, command: str, prepared: _Prepared, stdin: bool
) -> ContainerExec:
    argv = _build_exec_argv(ctx, container_id, prepared)
    with Descriptors() as fds:
        if prepared.runtime.kind == "crun":
            process, master = await _start_with_console_socket(ctx, argv, prepared, fds)
        else:
            master, slave = (fds.own(fd) for fd in pty.openpty())
            process = await spawn.start(argv, stdin=slave, stdout=slave, stderr=slave, launcher=ctx.exec_launcher)
        reader_fds: dict[int, StreamName] = {}
        writer = None
        terminal = None
        if master >= 0:
            reader_fds[os.dup(master)] = "stdout"
            writer = InputWriter(os.dup(master)) if stdin else None
            terminal = fds.release(master)
    session = ContainerExec(ctx, prepared, command, OutputReader(reader_fds), writer, terminal)
    ctx.tasks.spawn(session.run(process), name=f"exec:{container_id}")
    return session


async def _start_with_console_socket(
    ctx: RuntimeContext, argv: list[str], prepared: _Prepared, fds: Descriptors
) -> tuple[spawn.Process, int]:
    """The process and the terminal that the runtime made for it; -1 when the runtime failed before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as listener:
        # By descriptor, as a socket's path may only have 107 bytes.
        directory = fds.own(os.open(prepared.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        listener.bind(f"/proc/self/fd/{directory}/{prepared.console_socket.name}")
        listener.listen(1)
        argv = [*argv[:-1], "--console-socket", str(prepared.console_socket), argv[-1]]
        empty = fds.own(open_empty_file())
        log = _open_log(prepared, fds)
        process = await spawn.start(argv, stdin=empty, stdout=empty, stderr=log, launcher=ctx.exec_launcher)
        accepted = await _wait_accept_or_exit(ctx.tasks, listener, process)
        if accepted is None:
            return process, -1
        with accepted:
            await wait_readable(accepted.fileno())
            _, received, _, _ = socket.recv_fds(accepted, 64, 1)
            return process, fds.own(received[0]) if received else -1


async def _wait_accept_or_exit(tasks: Tasks, listener: socket.socket, process: spawn.Process) -> socket.socket | None:
    exited = tasks.spawn(process.wait(), name="exec-exit")
    arrived = tasks.spawn(wait_readable(listener.fileno()), name="exec-terminal")
    try:
        await asyncio.wait((exited, arrived), return_when=asyncio.FIRST_COMPLETED)
        return listener.accept()[0] if arrived.done() else None
    finally:
        for task in (exited, arrived):
            task.cancel()
        await asyncio.gather(exited, arrived, return_exceptions=True)


def _open_log(prepared: _Prepared, fds: Descriptors) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return fds.own(os.open(prepared.log_file, flags, 0o600))


def _build_exec_argv(ctx: RuntimeContext, container_id: ContainerId, prepared: _Prepared) -> list[str]:
    argv = build_argv(prepared.runtime, ctx.paths, "exec")
    argv[1:1] = ["--log", str(prepared.log_file)]
    if cgroup.detect().version:
        argv += ["--cgroup", prepared.cgroup_name]
    return [*argv, "--process", str(prepared.process_file), container_id]


def _build_detached_argv(argv: list[str], prepared: _Prepared) -> list[str]:
    """runc in the foreground would wait for all that hold the output, not for the command only."""
    pid_file = str(prepared.directory / "pid")
    follower = [sys.executable, "-I", "-S", detached_wait.__file__, pid_file]
    return [*follower, *argv[:-1], "--detach", "--pid-file", pid_file, argv[-1]]


def _prepare(ctx: RuntimeContext, entry: ContainerEntry, command: tuple[str, ...], tty: bool) -> _Prepared:
    """cgroup and process description; looks whether the command can be run at all.  Blocking, about 1 ms."""
    container_id = entry.record.id
    # Never one of an earlier daemon: what commands have left behind lives on in their cgroups.
    name = f"exec-{secrets.token_hex(4)}"
    spec = msgspec.json.decode(ctx.paths.bundle(container_id).config.read_bytes(), type=_ProcessSpec)
    process = {**spec.process, "args": command, "terminal": tty}
    if tty and not any(item.startswith("TERM=") for item in process["env"]):
        process["env"] = [*process["env"], "TERM=xterm"]
    pid = entry.record.process.pid if entry.record.process else 0
    cgroup_path = f"{entry.cgroup}/{name}"
    prepared = _Prepared(
        ctx.paths.execs / f"{container_id[:16]}-{name}",
        cgroup_path,
        name,
        find_command_problem(Path(f"/proc/{pid}/root"), command[0], process["env"], process["cwd"]),
        ctx.runtime_of(entry.record),
    )
    prepared.directory.mkdir(parents=True, exist_ok=True)
    try:
        cgroup.create(cgroup_path)
        prepared.process_file.write_bytes(msgspec.json.encode(process))
    except BaseException:
        _remove(prepared)
        raise
    return prepared


def _read_failure(prepared: _Prepared, command: str) -> tuple[str, int] | None:
    """What the OCI runtime itself complained of, and the exit code that stands for it."""
    try:
        text = prepared.log_file.read_text(errors="replace")
    except OSError:
        return None
    text = clean_message(drop_warnings(text))
    if not text:
        return None
    known = describe_command_failure(text, command)
    message, code = known or (text, 126)
    return build_failure_text(message), code


def build_failure_text(message: str) -> str:
    """As containerd and docker say it."""
    return f"OCI runtime exec failed: exec failed: unable to start container process: {message}: unknown"


def _kill_and_remove(prepared: _Prepared) -> None:
    cgroup.kill(prepared.cgroup_path)
    _remove(prepared)


def _remove(prepared: _Prepared) -> None:
    """A cgroup with processes stays: they go on, as after any exec, and it goes with the container's."""
    try:
        remove_cgroup(prepared.cgroup_path)
    except OSError:
        pass
    try:
        remove_tree(prepared.directory)
    except OSError as error:
        _log.warning("cannot remove %s: %s", prepared.directory, error)


def end_forgotten(ctx: RuntimeContext, directory: Path) -> None:
    """End a command that ran when the last daemon was killed: nobody listens to it any more.  Blocking.

    What it has left running in the background goes with it, as at the end of its session.
    """
    prefix, _, name = directory.name.partition("-")
    for entry in ctx.registry.containers():
        if entry.record.id.startswith(prefix):
            path = f"{entry.cgroup}/{name}"
            for _try in range(_KILL_TRIES):
                cgroup.kill(path)
                try:
                    remove_cgroup(path)
                except OSError:
                    continue  # The OCI runtime has put the command into it meanwhile.
                break
    remove_tree(directory)


async def exec_sync(
    ctx: RuntimeContext, container_id: ContainerId, command: tuple[str, ...], timeout_s: float
) -> ExecResult:
    """Run a command to its end; output beyond 64 KiB a stream is dropped.

    Raises:
        TimeoutError: After ``timeout_s`` (0: no limit); then everything it started has been killed.
        PodhostError: It could not be run at all.
    """
    session = await _start(ctx, container_id, command, tty=False, stdin=False)
    collected: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        failpoint.hit(_STARTED)
        async with asyncio.timeout(timeout_s if timeout_s > 0 else None):
            while (chunk := await session.read()) is not None:
                buffer = collected[chunk[0]]
                buffer += chunk[1][: _MAX_OUTPUT_BYTES - len(buffer)]
            code = await session.wait()
        failpoint.hit(_ENDED)
    except TimeoutError:
        await session.close()
        raise TimeoutError(f'command "{" ".join(command)}" timed out after {timeout_s:g} s') from None
    except BaseException:
        await session.close()
        raise
    if session.failure is not None:
        raise PodhostError(session.failure)
    return ExecResult(exit_code=code, stdout=bytes(collected["stdout"]), stderr=bytes(collected["stderr"]))
