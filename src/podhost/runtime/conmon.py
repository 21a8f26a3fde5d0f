"""conmon: its command line, its start handshake, and its control fifo."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from podhost.errors import UnavailableError
from podhost.linux import cgroup, spawn
from podhost.runtime.descriptors import Descriptors, read_to_end, wait_readable
from podhost.runtime.oci_runtime import build_global_args
from podhost.runtime.records import ContainerRecord
from podhost.runtime.runtime_words import KEPT_BYTES, RuntimeWords
from podhost.runtime.settings import OciRuntime, RuntimePaths, RuntimeSettings

_READ_WORDS_AFTER_S = 1.0
"""An honest ``create`` takes milliseconds."""


@dataclass(frozen=True, slots=True)
class ConmonReport:
    """What conmon says when the OCI runtime's ``create`` has ended: a pid, or -1 and the runtime's words."""

    pid: int
    message: str = ""


def build_conmon_argv(
    settings: RuntimeSettings, runtime: OciRuntime, paths: RuntimePaths, record: ContainerRecord
) -> list[str]:
    """conmon's command line for a container."""
    bundle = paths.bundle(record.id)
    argv = [
        str(settings.conmon_path),
        "--api-version=1",
        f"--cid={record.id}",
        f"--cuuid={record.id}",
        f"--name={record.config.name}",
        f"--runtime={runtime.path}",
        *(f"--runtime-arg={arg}" for arg in build_global_args(runtime, paths)),
        f"--bundle={bundle.root}",
        f"--container-pidfile={bundle.pid_file}",
        f"--conmon-pidfile={bundle.conmon_pid_file}",
        f"--log-path=k8s-file:{record.config.log_path}",
        f"--exit-dir={paths.exits}",
        f"--persist-dir={bundle.persist}",
        "--full-attach",
        # The log is read while the machine runs; syncing the file system at each exit would cost a disk flush.
        "--no-sync-log",
        "--log-level=error",
    ]
    if record.config.tty:
        argv.append("--terminal")
    if record.config.stdin:
        argv.append("--stdin")
        if not record.config.stdin_once:
            argv.append("--leave-stdin-open")
    return argv


async def run_conmon(
    argv: Sequence[str], *, cgroup_path: str, stderr_path: Path, pid_file: Path, timeout_s: float
) -> ConmonReport:
    """Start conmon in its cgroup and wait until the container is created.

    Raises:
        UnavailableError: conmon itself failed.
        TimeoutError: Nothing was heard in time; conmon is killed.
    """
    with Descriptors() as fds, RuntimeWords() as words:
        sync_read, sync_write = fds.pipe()
        start_read, start_write = fds.pipe()
        stderr = fds.own(os.open(stderr_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "_OCI_SYNCPIPE": str(sync_write),
            "_OCI_STARTPIPE": str(start_read),
        }
        process = await spawn.start(argv, stderr=stderr, pass_fds=(sync_write, start_read), env=environment, cwd="/")
        for fd in (sync_write, start_read, stderr):
            fds.close(fd)
        try:
            # conmon waits for the start pipe before it forks, so all its children begin in this cgroup.
            await asyncio.to_thread(cgroup.attach, cgroup_path, process.pid)
            os.write(start_write, b"\0")
            fds.close(start_write)
            async with asyncio.timeout(timeout_s):
                await _wait_for_report(sync_read, words, pid_file)
                text = await read_to_end(sync_read, until=b"\n")
        except BaseException:
            process.kill_session()
            raise
        said = words.text
    report = await asyncio.to_thread(_parse_report, text, stderr_path)
    return replace(report, message=(said + report.message)[:KEPT_BYTES]) if said else report


async def _wait_for_report(sync_fd: int, words: RuntimeWords, pid_file: Path) -> None:
    """Until conmon reports; the words of a runtime that takes long are read meanwhile."""
    while True:
        try:
            async with asyncio.timeout(_READ_WORDS_AFTER_S):
                await wait_readable(sync_fd)
        except TimeoutError:
            with suppress(OSError, ValueError):
                await words.open(int(await asyncio.to_thread(pid_file.read_text)))
        else:
            return


def _parse_report(text: bytes, stderr_path: Path) -> ConmonReport:
    try:
        report = json.loads(text)
        pid = int(report["data"])
    except (ValueError, KeyError, TypeError):
        said = stderr_path.read_text(errors="replace").strip() or text.decode(errors="replace") or "no message"
        raise UnavailableError(f"cannot start the container's monitor conmon: {said}") from None
    return ConmonReport(pid if pid > 0 else -1, str(report.get("message", "")))


def write_control(control: Path, message: str) -> None:
    """Write to conmon's control fifo.

    Raises:
        OSError: ENXIO or ENOENT when conmon is gone.
    """
    fd = os.open(control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fd, message.encode())
    finally:
        os.close(fd)


REOPEN_LOG = "2 0 0\n"


def build_resize_message(width: int, height: int) -> str:
    """New size of the terminal, in characters."""
    return f"1 {height} {width}\n"
