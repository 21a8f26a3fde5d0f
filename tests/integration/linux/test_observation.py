"""Readers of sockets, IPC tables and processes on the real kernel, as root."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.linux import ipc_tables, proc, sock_diag
from podhost.linux.mount import unmount_tree
from podhost.linux.namespaces import pin_namespaces, run_in_namespace, unpin_namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

_LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def pinned(tmp_path: Path) -> Iterator[dict[str, Path]]:
    yield pin_namespaces(tmp_path / "ns", frozenset({"net", "ipc"}))
    unpin_namespaces(tmp_path / "ns")
    unmount_tree(tmp_path)


def test_sockets_of_another_namespace_are_seen_and_others_are_not(pinned: dict[str, Path]) -> None:
    def make() -> list[socket.socket]:
        tcp = socket.create_server(("0.0.0.0", 7001))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", 7002))
        v6 = socket.create_server(("::", 7003), family=socket.AF_INET6)
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0podhost-test")
        abstract.listen()
        return [tcp, udp, v6, abstract]

    made = run_in_namespace(pinned["net"], "net", make)
    try:
        found = sock_diag.observe_inet_sockets(pinned["net"])
        inodes = {os.fstat(each.fileno()).st_ino for each in made}
        assert {(s.protocol, s.family, s.state, s.local_port) for s in found} == {
            ("tcp", 4, "LISTEN", 7001),
            ("udp", 4, "CLOSE", 7002),
            ("tcp", 6, "LISTEN", 7003),
        }
        assert {s.inode for s in found} < inodes
        (unix,) = sock_diag.observe_unix_sockets(pinned["net"])
        assert (unix.name, unix.kind, unix.state) == ("@podhost-test", "stream", "LISTEN")
    finally:
        for each in made:
            each.close()


def test_connected_unix_sockets_know_their_peers_and_their_file(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "s"))
    accepted, _ = server.accept()
    with server, client, accepted:
        by_inode = {each.inode: each for each in sock_diag.observe_unix_sockets(None)}
        listening = by_inode[os.fstat(server.fileno()).st_ino]
        facts = os.stat(tmp_path / "s")
        assert (listening.file_device, listening.file_inode) == (facts.st_dev, facts.st_ino)
        assert by_inode[os.fstat(client.fileno()).st_ino].peer_inode == os.fstat(accepted.fileno()).st_ino


def test_ipc_objects_are_read_from_inside_their_namespace(pinned: dict[str, Path]) -> None:
    def make() -> None:
        queue = _LIBC.msgget(0x1234, 0o1600)
        message = ctypes.create_string_buffer(b"\1\0\0\0\0\0\0\0hello")
        assert _LIBC.msgsnd(queue, message, 5, 0) == 0
        assert _LIBC.shmget(0x55, 4096, 0o1600) >= 0
        assert _LIBC.semget(0x66, 2, 0o1600) >= 0
        fd = _LIBC.mq_open(b"/podhost", os.O_CREAT | os.O_RDWR, 0o600, None)
        assert fd >= 0
        assert _LIBC.mq_send(fd, b"abc", 3, 0) == 0
        os.close(fd)

    run_in_namespace(pinned["ipc"], "ipc", make)
    tables = ipc_tables.observe_ipc_tables(pinned["ipc"])
    (queue,) = tables.queues
    assert (queue.key, queue.messages, queue.bytes, queue.last_sender) == (0x1234, 1, 5, os.getpid())
    assert [segment.key for segment in tables.segments] == [0x55]
    assert [(each.key, each.count) for each in tables.semaphores] == [(0x66, 2)]
    (posix,) = tables.posix_queues
    assert (posix.name, posix.messages, posix.bytes, posix.max_messages) == ("/podhost", 1, 3, 10)
    assert not any(each.key == 0x1234 for each in ipc_tables.observe_ipc_tables(Path("/proc/self/ns/ipc")).queues)


def test_descriptors_of_a_process_are_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    program = (
        "import os,socket,sys\n"
        f"a=open({str(tmp_path / 'data')!r},'a'); f=os.open({str(tmp_path / 'fifo')!r},os.O_RDWR)\n"
        "s=socket.create_server(('127.0.0.1',0)); print('ready',flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        found = proc.read_descriptors(child.pid)
        facts = proc.read_process(child.pid)
        path = proc.read_cgroup_path(child.pid)
        child.communicate()
    by_name = {Path(file.path).name: file for file in found.files}
    assert (by_name["data"].kind, by_name["data"].readable, by_name["data"].writable) == ("file", False, True)
    assert (by_name["fifo"].kind, by_name["fifo"].readable, by_name["fifo"].writable) == ("fifo", True, True)
    assert len(found.sockets) == 1
    assert facts is not None
    assert (facts.parent, facts.command.startswith(sys.executable)) == (os.getpid(), True)
    assert path == proc.read_cgroup_path(os.getpid())
    assert proc.read_process(child.pid) is None
    assert proc.read_descriptors(child.pid) == proc.Descriptors()


def test_a_reader_that_waits_at_a_fifo_is_seen_with_the_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["cat", "fifo"], cwd=tmp_path) as child:
        deadline = time.monotonic() + 10
        while (found := proc.read_blocked_open(child.pid)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    assert found == proc.BlockedOpen(child.pid, str(tmp_path / "fifo"), writes=False)
    assert proc.read_blocked_open(os.getpid()) is None
