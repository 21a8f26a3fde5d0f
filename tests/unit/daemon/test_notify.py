"""What a supervisor hears, and that nobody else does."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from podhost.daemon.notify import Supervisor, notify_starter


def test_the_supervisor_hears_the_state(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        Supervisor(str(tmp_path / "notify")).tell("READY=1")
        assert sock.recv(64) == b"READY=1"


def test_an_abstract_address_begins_with_an_at_sign() -> None:
    name = f"podhost-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)
        Supervisor("@" + name).tell("STOPPING=1")
        assert sock.recv(64) == b"STOPPING=1"


def test_the_address_is_kept_from_processes_that_the_daemon_starts() -> None:
    environ = {"NOTIFY_SOCKET": "/run/systemd/notify", "PATH": "/bin"}
    assert Supervisor.take_from(environ) == Supervisor("/run/systemd/notify")
    assert environ == {"PATH": "/bin"}
    assert Supervisor.take_from(environ) == Supervisor(None)


def test_a_supervisor_that_is_absent_or_deaf_is_no_error(tmp_path: Path) -> None:
    Supervisor(None).tell("READY=1")
    Supervisor(str(tmp_path / "nobody")).tell("READY=1")


def test_the_starter_reads_one_line() -> None:
    read_fd, write_fd = os.pipe()
    notify_starter(write_fd, "ready\n")
    with os.fdopen(read_fd) as pipe:
        assert pipe.read() == "ready\n"
