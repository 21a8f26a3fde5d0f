"""Start the daemon as its own process, and wait until it says that it is ready.

The daemon gets ``--ready-fd N``: it writes ``ready`` and a newline there, or one line that says why it cannot start.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
import time
from typing import BinaryIO

from podhost.cli.failure import HintedError
from podhost.cli.session import InstancePaths, instance_paths
from podhost.cli.terminal import StatusLine
from podhost.client import ApiClient, Endpoint
from podhost.errors import PodhostError

START_TIMEOUT_S = 60.0


def is_running(paths: InstancePaths) -> bool:
    """Does a daemon listen on the instance's socket?"""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(paths.socket))
    except PermissionError:
        return True
    except OSError:
        return False
    finally:
        sock.close()
    return True


def ensure_daemon(args: argparse.Namespace) -> None:
    """Start the instance's daemon unless it runs."""
    paths = instance_paths(args.instance)
    if is_running(paths):
        _wait_ready(paths)
        return
    start_daemon(paths, [])


def daemon_argv(paths: InstancePaths, extra: list[str]) -> list[str]:
    """Command line of the daemon; roots that the environment moved are passed on."""
    argv = [sys.executable, "-m", "podhost.daemon", "--instance", paths.name]
    if "PODHOST_DATA_ROOT" in os.environ and "--data-root" not in extra:
        argv += ["--data-root", str(paths.data_root)]
    if "PODHOST_RUN_ROOT" in os.environ and "--run-root" not in extra:
        argv += ["--run-root", str(paths.run_root)]
    return argv + extra


def require_root_for_daemon(what: str) -> None:
    if os.geteuid() != 0:
        raise HintedError(
            "cannot start the podhost daemon: it needs root",
            f"run this once with sudo: sudo {what}",
            "or start the daemon as a service: sudo systemctl enable --now podhost",
        )


def start_daemon(paths: InstancePaths, extra: list[str]) -> None:
    """Start it in a session of its own, its output in a log file.

    Raises:
        HintedError: With the daemon's own words, or the end of its log.
    """
    require_root_for_daemon(f"podhost {' '.join(sys.argv[1:])}")
    status = StatusLine()
    status.show(f"starting the podhost daemon ({paths.name}) …")
    read_fd, write_fd = os.pipe()
    with _open_log(paths) as log:
        position = log.tell()
        process = subprocess.Popen(
            daemon_argv(paths, [*extra, "--ready-fd", str(write_fd)]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            pass_fds=(write_fd,),
            start_new_session=True,
        )
    os.close(write_fd)
    try:
        answer = _read_answer(read_fd)
    finally:
        os.close(read_fd)
        status.clear()
    if answer != "ready":
        _fail(paths, position, answer, process.poll())
    # It outlives this command on purpose; nobody waits for it here.
    process.returncode = 0


def _open_log(paths: InstancePaths) -> BinaryIO:
    try:
        paths.log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        return open(paths.log_file, "ab")
    except OSError as error:
        raise HintedError(
            f"cannot start the podhost daemon: cannot write its log {paths.log_file}: {error.strerror}"
        ) from error


def _read_answer(fd: int) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    data = b""
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return f"it was not ready within {START_TIMEOUT_S:.0f} seconds"
        chunk = os.read(fd, 4096)
        if not chunk:
            break
        data += chunk
    return data.decode(errors="replace").strip().removeprefix("error: ")


def _fail(paths: InstancePaths, position: int, answer: str, code: int | None) -> None:
    hints = [f"its log is in {paths.log_file}", "check this machine: podhost doctor"]
    if answer:
        raise HintedError(f"cannot start the podhost daemon: {answer}", *hints)
    with open(paths.log_file, "rb") as log:
        log.seek(position)
        tail = log.read()[-2000:].decode(errors="replace").strip().splitlines()[-8:]
    ended = f" with exit code {code}" if code else ""
    said = "".join(f"\n    {line}" for line in tail)
    raise HintedError(f"cannot start the podhost daemon: it ended{ended}{said}", *hints)


def _wait_ready(paths: InstancePaths) -> None:
    """A daemon that somebody else is starting may listen before it is ready."""
    client = ApiClient(Endpoint(socket_path=paths.socket))
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            client.get("/readyz")
            return
        except PodhostError as error:
            if getattr(error, "code", 503) not in (500, 503) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)
