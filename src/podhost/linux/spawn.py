"""The one place that starts processes.

``subprocess.Popen`` starts them by vfork (no copy of our page tables); their end is learned from a pidfd, so no
thread waits for a child.  ``run`` ends when the process has ended, even if a descendant keeps its output open.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podhost.errors import PodhostError

PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL
STDOUT: Final = subprocess.STDOUT

_CHUNK_BYTES = 1 << 16
_STDERR_SHOWN = 2000
_KILLED_WAIT_S = 1.0
_LINE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that has ended.  ``returncode`` is negative for a signal."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes


class CommandError(PodhostError):
    """A command failed; the text holds the command as one can paste it into a shell."""

    def __init__(self, message: str, *, completed: Completed | None = None) -> None:
        super().__init__(message)
        self.completed = completed

    @property
    def stderr(self) -> str:
        """What the command said, decoded."""
        return self.completed.stderr.decode(errors="replace") if self.completed else ""


def format_command(argv: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path | str | None) -> str:
    """The command as a line of shell, with the environment variables that differ from ours."""
    changed = {key: value for key, value in (env or {}).items() if os.environ.get(key) != value}
    line = " ".join([*(f"{key}={shlex.quote(value)}" for key, value in changed.items()), shlex.join(argv)])
    return f"(cd {shlex.quote(str(cwd))} && {line})" if cwd else line


def build_python_argv(module: str) -> list[str]:
    """A child that calls ``main()`` of a module, with the same paths as ours; arguments may follow.

    Without the ``site`` module: it starts in a third of the time.
    """
    boot = f"import sys; sys.path[:] = sys.argv.pop(1).split({os.pathsep!r}); from {module} import main; main()"
    return [sys.executable, "-I", "-S", "-c", boot, os.pathsep.join(path for path in sys.path if path)]


def describe_exit(returncode: int) -> str:
    """``exit status 1`` or ``killed by SIGTERM``."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


class Process:
    """A running child.  Belongs to the event loop in which it was started."""

    def __init__(self, popen: subprocess.Popen[bytes], argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        self.pid = popen.pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def returncode(self) -> int | None:
        """``None`` while it runs; negative for a signal."""
        return self._popen.returncode

    async def wait(self) -> int:
        """Wait for the end; several may wait."""
        return await asyncio.shield(self._exited)

    def send_signal(self, sig: int) -> None:
        """Signal the process; nothing happens when it has ended."""
        if self._popen.returncode is None:
            try:
                signal.pidfd_send_signal(self._pidfd, sig)
            except ProcessLookupError:
                pass

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def kill_session(self) -> None:
        """Kill the process with all of its process group (it leads one when started with ``new_session``)."""
        if self._popen.returncode is None:
            try:
                # Not reaped yet, so neither pid nor group can belong to another.
                if os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.kill()

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        returncode = self._popen.wait()
        os.close(self._pidfd)
        if not self._exited.done():
            self._exited.set_result(returncode)


FdOrFile = int | None
"""PIPE, DEVNULL, STDOUT, a descriptor, or ``None`` to inherit ours."""


def _popen(
    argv: Sequence[str],
    *,
    stdin: FdOrFile,
    stdout: FdOrFile,
    stderr: FdOrFile,
    pass_fds: Sequence[int],
    env: Mapping[str, str] | None,
    cwd: Path | str | None,
    new_session: bool,
    dies_with_us: bool = False,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            _bind_to_our_life(argv, env) if dies_with_us else argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            env=env,
            cwd=cwd,
            start_new_session=new_session,
            bufsize=0,
        )
    except OSError as error:
        command = format_command(argv, env=env, cwd=cwd)
        raise CommandError(f"cannot run {command}: {error}") from error


async def _popen_in(launcher: Executor, fn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """A caller who is cancelled meanwhile waits, as the descriptors are his; what was started is killed then."""
    future = asyncio.get_running_loop().run_in_executor(launcher, fn)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if future.exception() is None:
            process = Process(future.result(), ())
            process.kill_session()
            await _wait_killed(process)
        raise


def _bind_to_our_life(argv: Sequence[str], env: Mapping[str, str] | None) -> Sequence[str]:
    """The same command, killed by the kernel when the thread that has started it ends.

    By setpriv, as code of ours between fork and exec would cost a copy of our page tables.  Without it, or for a
    program that does not exist, the command stays as it is.
    """
    helper = shutil.which("setpriv")
    if helper is None or shutil.which(argv[0], path=(env or os.environ).get("PATH")) is None:
        return argv
    return [helper, "--pdeathsig", "KILL", "--", *argv]


async def start(
    argv: Sequence[str],
    *,
    stdin: FdOrFile = DEVNULL,
    stdout: FdOrFile = DEVNULL,
    stderr: FdOrFile = DEVNULL,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    new_session: bool = True,
    launcher: Executor | None = None,
) -> Process:
    """Start a process and return at once.  With PIPE the streams are ``stdin``, ``stdout``, ``stderr`` of it.

    It has the namespaces of the thread that starts it: ours, or that of ``launcher``.

    Raises:
        CommandError: It cannot be started.
    """
    open_process = functools.partial(
        _popen,
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        env=env,
        cwd=cwd,
        new_session=new_session,
    )
    popen = open_process() if launcher is None else await _popen_in(launcher, open_process)
    process = Process(popen, argv)
    if popen.stdin is not None:
        process.stdin = await _connect_writer(popen.stdin)
    if popen.stdout is not None:
        process.stdout = await _connect_reader(popen.stdout)
    if popen.stderr is not None:
        process.stderr = await _connect_reader(popen.stderr)
    return process


async def _connect_reader(pipe: object) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_LIMIT_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _connect_writer(pipe: object) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(loop=loop), pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class _PipeReader:
    """Collects what comes out of a pipe; hands over complete chunks to ``on_data`` as they come."""

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self._fd, self.write_fd = os.pipe()
        os.set_blocking(self._fd, False)
        self._on_data = on_data
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read_once)
        self._open = True

    def close_write_end(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def drain(self) -> None:
        """Read what is there, without waiting for an end that a descendant may delay."""
        while self._open and self._read_once():
            pass

    def close(self) -> None:
        self.close_write_end()
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)

    def _read_once(self) -> bool:
        try:
            data = os.read(self._fd, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._on_data(data)
        return True


def _open_input(data: bytes | None) -> int:
    if data is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("podhost-stdin", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    input: bytes | None = None,
    pass_fds: Sequence[int] = (),
    timeout_s: float | None = None,
    check: bool = True,
    dies_with_us: bool = False,
) -> Completed:
    """Run a command to its end and collect its output.

    ``input`` reaches it as a file, not as a pipe.  When the time is over, or the caller is cancelled, the
    command is killed with its process group.  With ``dies_with_us`` it does not outlive us either, however we end:
    for what may wait for somebody else without end.

    Raises:
        CommandError: It cannot be started; it fails and ``check`` is set.
        TimeoutError: It takes longer than ``timeout_s``.
    """
    stdout, stderr = bytearray(), bytearray()
    returncode = await _run_with_readers(
        argv,
        env=env,
        cwd=cwd,
        input=input,
        pass_fds=pass_fds,
        timeout_s=timeout_s,
        on_stdout=stdout.extend,
        on_stderr=stderr.extend,
        dies_with_us=dies_with_us,
    )
    completed = Completed(tuple(argv), returncode, bytes(stdout), bytes(stderr))
    if check and returncode != 0:
        raise _command_failed(completed, env=env, cwd=cwd)
    return completed


async def run_lines(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    input: bytes | None = None,
    pass_fds: Sequence[int] = (),
    timeout_s: float | None = None,
    check: bool = True,
    dies_with_us: bool = False,
) -> Completed:
    """As :func:`run`, handing over each line of either stream as it comes (for progress; ``\\r`` ends one too)."""
    stdout, stderr = bytearray(), bytearray()
    splitters = (_LineSplitter(on_line), _LineSplitter(on_line))

    def on_stdout(data: bytes) -> None:
        stdout.extend(data)
        splitters[0].feed(data)

    def on_stderr(data: bytes) -> None:
        stderr.extend(data)
        splitters[1].feed(data)

    returncode = await _run_with_readers(
        argv,
        env=env,
        cwd=cwd,
        input=input,
        pass_fds=pass_fds,
        timeout_s=timeout_s,
        on_stdout=on_stdout,
        on_stderr=on_stderr,
        dies_with_us=dies_with_us,
    )
    for splitter in splitters:
        splitter.finish()
    completed = Completed(tuple(argv), returncode, bytes(stdout), bytes(stderr))
    if check and returncode != 0:
        raise _command_failed(completed, env=env, cwd=cwd)
    return completed


class _LineSplitter:
    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.replace(b"\r", b"\n")).split(b"\n")
        for line in lines:
            if line:
                self._on_line(line.decode(errors="replace"))

    def finish(self) -> None:
        if self._rest:
            self.feed(b"\n")


async def _run_with_readers(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | str | None,
    input: bytes | None,
    pass_fds: Sequence[int],
    timeout_s: float | None,
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
    dies_with_us: bool = False,
) -> int:
    readers = (_PipeReader(on_stdout), _PipeReader(on_stderr))
    stdin_fd = _open_input(input)
    try:
        try:
            popen = _popen(
                argv,
                stdin=stdin_fd,
                stdout=readers[0].write_fd,
                stderr=readers[1].write_fd,
                pass_fds=pass_fds,
                env=env,
                cwd=cwd,
                new_session=True,
                dies_with_us=dies_with_us,
            )
        finally:
            os.close(stdin_fd)
        process = Process(popen, argv)
        for reader in readers:
            reader.close_write_end()
        returncode = await _wait_or_kill(process, timeout_s, env=env, cwd=cwd)
        for reader in readers:
            reader.drain()
        return returncode
    finally:
        for reader in readers:
            reader.close()


async def _wait_or_kill(
    process: Process, timeout_s: float | None, *, env: Mapping[str, str] | None, cwd: Path | str | None
) -> int:
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        process.kill_session()
        await process.wait()
        command = format_command(process.argv, env=env, cwd=cwd)
        raise TimeoutError(f"{command}: still running after {timeout_s:g} s, killed") from None
    except asyncio.CancelledError:
        process.kill_session()
        await _wait_killed(process)
        raise


async def _wait_killed(process: Process) -> None:
    """The caller cleans up next, so it should really be gone; but one stuck in the kernel does not hold us up for
    long: it is reaped by the loop's reader of its pidfd.
    """
    try:
        async with asyncio.timeout(_KILLED_WAIT_S):
            await process.wait()
    except TimeoutError:
        pass


def _command_failed(completed: Completed, *, env: Mapping[str, str] | None, cwd: Path | str | None) -> CommandError:
    said = (completed.stderr.strip() or completed.stdout.strip()).decode(errors="replace")
    if len(said) > _STDERR_SHOWN:
        said = "…" + said[-_STDERR_SHOWN:]
    command = format_command(completed.argv, env=env, cwd=cwd)
    text = f"{command}: {describe_exit(completed.returncode)}"
    return CommandError(f"{text}: {said}" if said else text, completed=completed)
