"""Clients that vanish, send garbage, or never read: nothing of theirs stays, and others are served."""

from __future__ import annotations

import base64
import gzip
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import build_pod

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def daemon(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as running:
        running.apply(build_pod("idle", "debian", "sleep", "infinity"))
        running.wait("pod/idle", "condition=Ready", timeout_s=20)
        yield running


def connect(daemon: Daemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(str(daemon.socket_path))
    return sock


def exec_socket(daemon: Daemon, *command: str, options: str = "") -> socket.socket:
    sock = connect(daemon)
    words = "&".join(f"command={word}" for word in command)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {PODS}/idle/exec?{words}&stdout=1{options} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    return sock


def count_processes(command: str) -> int:
    listing = subprocess.run(["ps", "ax", "-o", "args"], check=True, capture_output=True, text=True).stdout
    return listing.splitlines().count(command)


def list_execs(daemon: Daemon) -> list[str]:
    assert daemon.process is not None
    return os.listdir(f"/proc/{daemon.process.pid}/root{daemon.run_root}/{daemon.instance}/runtime/execs")


def test_execs_whose_clients_vanish_at_any_moment_leave_nothing(daemon: Daemon) -> None:
    assert daemon.process is not None
    fds = f"/proc/{daemon.process.pid}/fd"
    before = len(os.listdir(fds))
    seconds = str(100000 + os.getpid())

    def vanish(number: int) -> None:
        with exec_socket(daemon, "sleep", seconds):
            time.sleep(0.002 * (number % 16))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(vanish, range(100)))
    wait_until(lambda: not list_execs(daemon), what="the directories of all execs to go")
    wait_until(lambda: not count_processes(f"sleep {seconds}"), what="all their processes to end")
    wait_until(lambda: len(os.listdir(fds)) <= before + 2, what="their descriptors to be closed")
    assert daemon.kubectl("exec", "idle", "--", "echo", "served").stdout == "served\n"


def test_garbage_on_a_channel_ends_that_exec_with_a_reason(daemon: Daemon) -> None:
    with exec_socket(daemon, "sleep", "1000", options="&stdin=1&tty=1") as sock:
        sock.settimeout(10)
        answer = sock.recv(4096)
        data = b"\x04{notjson"
        sock.sendall(bytes([0x82, 0x80 | len(data)]) + bytes(4) + data)
        while b'"BadRequest"' not in answer:
            received = sock.recv(4096)
            assert received, answer
            answer += received
    assert "Traceback" not in daemon.log_tail(100)


def test_a_body_is_never_unpacked(daemon: Daemon) -> None:
    bomb = gzip.compress(b" " * 50_000_000 + b"{}", 1)
    with connect(daemon) as sock:
        sock.settimeout(10)
        head = f"POST {PODS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        sock.sendall(f"{head}Content-Length: {len(bomb)}\r\n\r\n".encode() + bomb)
        assert b" 400 Bad Request" in sock.recv(4096)


def test_followers_that_never_read_do_not_stop_the_container_or_others(daemon: Daemon) -> None:
    count = "i=0; while :; do echo $((i++)) $(printf %01000d 0); done"
    daemon.apply(build_pod("flood", "debian", "bash", "-c", count))
    daemon.wait("pod/flood", "condition=Ready", timeout_s=20)
    deaf = []
    for _ in range(10):
        deaf.append(connect(daemon))
        deaf[-1].sendall(f"GET {PODS}/flood/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        deaf.append(exec_socket(daemon, "cat", "/dev/zero"))

    def last() -> int:
        lines = daemon.request("GET", f"{PODS}/flood/log?tailLines=1").split()
        return int(lines[0])

    first = last()
    wait_until(lambda: last() > first + 100, what="the container to go on")
    started = time.monotonic()
    daemon.get("/version")
    assert time.monotonic() - started < 2
    for sock in deaf:
        sock.close()
    daemon.kubectl("delete", "pod", "flood", "--timeout=20s")
    wait_until(lambda: not count_processes("cat /dev/zero"), what="the execs to end")
