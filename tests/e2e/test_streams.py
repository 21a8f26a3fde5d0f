"""Byte streams through real kubectl: the current one, and Debian's 1.20, which speaks plain SPDY."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, kubectl_binary
from harness.old_kubectl import old_kubectl

ECHO_AT_END = """
import socket, threading, sys
def serve(connection):
    data = b"".join(iter(lambda: connection.recv(65536), b""))
    connection.sendall(b"got %d:" % len(data) + data)
    connection.close()
listener = socket.create_server(("127.0.0.1", 7000))
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "streams", "labels": {"app": "streams"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {"name": "server", "image": "training/webapp", "command": ["python3", "-c", ECHO_AT_END]},
            {"name": "shell", "image": "debian", "command": ["sleep", "infinity"]},
            {"name": "cat", "image": "debian", "command": ["cat"], "stdin": True},
            {
                "name": "talker",
                "image": "debian",
                # Pauses, as two pipes have no order in common.
                "command": ["sh", "-c", "echo out 1; sleep 0.2; echo err 1 >&2; sleep 0.2; echo out 2; sleep infinity"],
            },
            {
                "name": "web",
                "image": "training/webapp",
                "command": ["python3", "-m", "http.server", "7002", "--directory", "/"],
                "readinessProbe": {"tcpSocket": {"port": 7002}, "periodSeconds": 1},
            },
        ],
    },
}

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "streams"}, "ports": [{"port": 80, "targetPort": 7002}]},
}


@pytest.fixture(scope="module")
def place(daemon: Daemon) -> Iterator[str]:
    """A namespace with the pod ``streams``."""
    name = f"streams-{os.getpid()}"
    daemon.kubectl("create", "namespace", name)
    for document in (POD, SERVICE):
        daemon.kubectl("apply", "-n", name, "-f", "-", stdin=json.dumps(document))
    daemon.kubectl("wait", "-n", name, "--for=condition=Ready", "pod/streams", "--timeout=60s", timeout_s=70)
    yield name
    daemon.kubectl("delete", "namespace", name, "--wait=false")


class Kubectl:
    """One kubectl, in one namespace."""

    def __init__(self, program: str, daemon: Daemon, namespace: str) -> None:
        self.program = program
        self.daemon = daemon
        self.namespace = namespace

    def command(self, *words: str) -> list[str]:
        return [self.program, "-n", self.namespace, *words]

    def run(self, *words: str, stdin: bytes = b"", timeout_s: float = 60) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env=self.daemon.environment(),
            check=False,
        )

    @contextlib.contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A running kubectl, killed at the end."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            self.command(*words), stdin=pipe, stdout=pipe, stderr=pipe, env=self.daemon.environment()
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(params=["1.37", "1.20"])
def kubectl(request: pytest.FixtureRequest, daemon: Daemon, place: str) -> Kubectl:
    program = kubectl_binary() if request.param == "1.37" else old_kubectl()
    return Kubectl(program, daemon, place)


def test_exec_keeps_streams_apart_and_returns_the_exit_code(kubectl: Kubectl) -> None:
    done = kubectl.run("exec", "streams", "-c", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert done.stderr == b"err\ncommand terminated with exit code 7\n"


def test_exec_carries_any_bytes_both_ways_to_the_end_of_stdin(kubectl: Kubectl) -> None:
    blob = os.urandom(3 << 20)
    done = kubectl.run("exec", "-i", "streams", "-c", "shell", "--", "sh", "-c", "cat; exit 3", stdin=blob)
    assert (done.returncode, done.stdout == blob) == (3, True)


def test_exec_ends_although_the_command_does_not_read_its_stdin(kubectl: Kubectl) -> None:
    done = kubectl.run("exec", "-i", "streams", "-c", "shell", "--", "echo", "done", stdin=bytes(5 << 20))
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_exec_that_is_refused_says_why(kubectl: Kubectl) -> None:
    done = kubectl.run("exec", "streams", "-c", "nobody", "--", "true")
    assert done.returncode == 1
    assert b"container nobody is not valid for pod streams" in done.stderr


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], rows: int, columns: int) -> None:
        self._fd, child = pty.openpty()
        self.resize(rows, columns, tell=False)
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True
        )
        os.close(child)
        self.seen = ""

    def resize(self, rows: int, columns: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, pattern: str, timeout_s: float = 20) -> re.Match[str]:
        """Read until the pattern has come; what is before it is forgotten."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} has not come: {self.seen!r}"
            try:
                self.seen += os.read(self._fd, 4096).decode(errors="replace")
            except OSError:  # EIO: the other end has been closed
                raise AssertionError(f"{pattern!r} has not come before the end: {self.seen!r}") from None
        self.seen = self.seen[found.end() :]
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


def test_exec_on_a_terminal_knows_its_size_and_every_change(kubectl: Kubectl) -> None:
    command = kubectl.command("exec", "-it", "streams", "-c", "shell", "--", "sh")
    terminal = Terminal(command, kubectl.daemon.environment(), 30, 100)
    try:
        terminal.wait_for(r"[#$] ")
        terminal.type("tty; stty size\n")
        terminal.wait_for(r"/dev/pts/\d+\r\n30 100\r\n")
        # Without job control, so that the signal goes to this shell whatever it runs.
        terminal.type('exec sh -c \'trap "stty size; exit 5" WINCH; echo rea""dy; while :; do sleep 0.1; done\'\n')
        terminal.wait_for("ready")
        terminal.resize(40, 120)
        terminal.wait_for(r"40 120\r\n")
        assert terminal.process.wait(20) == 5
    finally:
        terminal.close()


def test_attach_reaches_the_main_process(kubectl: Kubectl) -> None:
    with kubectl.start("attach", "-i", "streams", "-c", "cat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"one\n", b"two\n"):
            process.stdin.write(word)
            process.stdin.flush()
            assert process.stdout.readline() == word


def test_copies_of_directories_go_both_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "blob").write_bytes(os.urandom(300000))
    (tree / "deep" / "er" / "empty").touch()
    target = f"/tmp/{Path(kubectl.program).parent.name}"
    done = kubectl.run("cp", "-c", "shell", str(tree), f"streams:{target}")
    assert done.returncode == 0, done.stderr
    done = kubectl.run("cp", "-c", "shell", f"streams:{target}", str(tmp_path / "back"))
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["diff", "-r", tree, tmp_path / "back"], check=False).returncode == 0
    kubectl.run("exec", "streams", "-c", "shell", "--", "rm", "-r", target)


@contextlib.contextmanager
def forwarding(kubectl: Kubectl, *ports: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A running port-forward, and its local ports."""
    with kubectl.start("port-forward", "--address", "127.0.0.1", "pod/streams", *ports) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in ports]
        yield process, [int(line.split("127.0.0.1:")[1].split()[0]) for line in lines]


def ask(port: int, data: bytes) -> bytes:
    """What the pod answers once it has all the data."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_forwarded_connections_reach_the_pods_loopback_and_half_close(kubectl: Kubectl) -> None:
    with forwarding(kubectl, ":7000") as (_, (port,)):
        blob = os.urandom(1 << 20)
        assert ask(port, blob) == b"got 1048576:" + blob
        assert ask(port, b"") == b"got 0:"


def test_hundred_forwarded_connections_at_once(kubectl: Kubectl) -> None:
    with forwarding(kubectl, ":7000") as (_, (port,)), contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(100)
        ]
        for number, connection in enumerate(connections):
            connection.sendall(b"%d" % number)
        for number, connection in enumerate(connections):
            connection.shutdown(socket.SHUT_WR)
            assert read_to_end(connection) == b"got %d:%d" % (len(str(number)), number)


def test_refused_forward_names_the_cause(kubectl: Kubectl) -> None:
    with forwarding(kubectl, ":7000", ":7001") as (process, (good, bad)):
        assert ask(good, b"x") == b"got 1:x"
        assert ask(bad, b"") == b""
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert "error forwarding port 7001 to pod" in line
        assert "dial tcp4 127.0.0.1:7001: connect: connection refused" in line
        if kubectl.program == old_kubectl():
            assert ask(good, b"y") == b"got 1:y"  # newer ones end at the first error, by their own decision


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        content: bytes = response.read()
        return content


def test_proxy_leads_to_pods_and_services(kubectl: Kubectl) -> None:
    base = f"/api/v1/namespaces/{kubectl.namespace}"
    for path in (f"{base}/pods/streams:7002/proxy/etc/hostname", f"{base}/services/http:web:80/proxy/etc/hostname"):
        done = kubectl.run("get", "--raw", path)
        assert (done.stdout, done.stderr) == (b"streams\n", b"")
    with kubectl.start("proxy", "--port=0") as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(b":", 1)[1])
        root = f"http://127.0.0.1:{port}{base}"
        assert fetch(f"{root}/pods/streams:7002/proxy/etc/hostname") == b"streams\n"
        listing = fetch(f"{root}/services/web/proxy?x=1")  # by way of a redirect to the same with a slash
        assert b'<a href="etc/">' in listing
    done = kubectl.run("get", "--raw", f"{base}/pods/streams:7003/proxy/")
    assert b"error trying to reach service: dial tcp" in done.stderr


def test_logs_with_their_options(kubectl: Kubectl) -> None:
    def logs(*words: str) -> bytes:
        done = kubectl.run("logs", "streams", "-c", "talker", *words)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    with kubectl.start("logs", "-f", "streams", "-c", "talker") as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"out 1\n", b"err 1\n", b"out 2\n"]
    assert logs() == b"out 1\nerr 1\nout 2\n"
    assert logs("--tail=1") == b"out 2\n"
    assert logs("--limit-bytes=8") == b"out 1\ner"
    stamped = logs("--timestamps").splitlines()
    assert [line.partition(b" ")[2] for line in stamped] == [b"out 1", b"err 1", b"out 2"]
    last = stamped[-1].partition(b" ")[0].decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", last)
    assert logs(f"--since-time={last}") in (b"out 2\n", b"err 1\nout 2\n", b"out 1\nerr 1\nout 2\n")  # whole seconds
    assert logs("--since=1h", "--tail=2") == b"err 1\nout 2\n"
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/streams/log?container=talker"
    assert kubectl.run("get", "--raw", f"{path}&stream=Stderr").stdout == b"err 1\n"
    assert kubectl.run("get", "--raw", f"{path}&stream=Stdout&sinceSeconds=3600").stdout == b"out 1\nout 2\n"
    done = kubectl.run("logs", "streams", "-c", "talker", "--previous")
    assert b'previous terminated container "talker" in pod "streams" not found' in done.stderr


# -- podhost's own commands -----------------------------------------------------------------------------------


@pytest.fixture(params=["instance", "context"])
def podhost(request: pytest.FixtureRequest, daemon: Daemon, place: str) -> list[str]:
    """The command, by the socket of this machine and by TLS to a context of the kubeconfig, as to any cluster."""
    flags = ["--context", f"podhost-{daemon.instance}"] if request.param == "context" else []
    return [sys.executable, "-m", "podhost.cli.main", *flags, "-n", place]


def test_podhost_copies_directories_both_ways(daemon: Daemon, podhost: list[str], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "blob").write_bytes(os.urandom(3 << 20))
    (tree / "link").symlink_to("deep/blob")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = daemon.environment()
        return subprocess.run([*podhost, *words], env=environment, capture_output=True, text=True, check=False)

    target = f"/tmp/podhost-{len(podhost)}"
    assert run("cp", "-c", "shell", str(tree), f"streams:{target}").stderr == ""
    assert run("cp", "-c", "shell", f"streams:{target}", str(tmp_path / "back")).stderr == ""
    subprocess.run(["diff", "-r", "--no-dereference", tree, tmp_path / "back"], check=True)
    # Into a directory that is there.
    assert run("cp", "-c", "shell", f"streams:{target}/deep/blob", str(tmp_path)).stderr == ""
    assert (tmp_path / "blob").read_bytes() == (tree / "deep" / "blob").read_bytes()
    done = run("cp", "-c", "shell", "streams:/nowhere", str(tmp_path))
    assert done.returncode == 1
    assert "tar: nowhere: Cannot stat: No such file or directory" in done.stderr


def test_podhost_cp_says_that_tar_is_missing(daemon: Daemon, podhost: list[str], tmp_path: Path) -> None:
    daemon.kubectl("exec", "-n", podhost[-1], "streams", "-c", "cat", "--", "rm", "-f", "/usr/bin/tar")
    (tmp_path / "file").touch()
    for words in (("streams:/etc", str(tmp_path / "etc")), (str(tmp_path / "file"), "streams:/tmp")):
        done = subprocess.run(
            [*podhost, "cp", "-c", "cat", *words], env=daemon.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "there is no tar in the container 'cat' of the pod 'streams'" in done.stderr


def test_podhost_forwards_ports_and_outlives_a_refused_connection(daemon: Daemon, podhost: list[str]) -> None:
    command = [*podhost, "port-forward", "--address", "127.0.0.1", "streams", ":7000", ":7001"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, env=daemon.environment(), text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        good, bad = (int(line.split(" -> ")[0].split(":")[1]) for line in lines)
        assert lines[0] == f"127.0.0.1:{good} -> streams:7000\n"
        with pytest.raises(ConnectionResetError):
            ask(bad, b"x")
        assert "nobody listens on port 7001 of the pod's loopback" in process.stderr.readline()
        blob = os.urandom(1 << 20)
        assert ask(good, blob) == b"got 1048576:" + blob
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
