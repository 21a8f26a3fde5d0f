"""The stream module of the Python client ``kubernetes``: exec, attach and port-forward, as its users write it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from harness.daemon import Daemon, wait_until

kubernetes = pytest.importorskip("kubernetes")
stream = pytest.importorskip("kubernetes.stream")

ECHO = """
import socket, threading
def serve(connection):
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
listener = socket.create_server(("127.0.0.1", 7000))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "py"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "server",
                "image": "training/webapp",
                "command": ["python3", "-c", ECHO],
                "readinessProbe": {
                    "exec": {
                        "command": ["python3", "-c", "import socket; socket.create_connection(('localhost', 7000))"]
                    },
                    "periodSeconds": 1,
                },
            },
            {"name": "cat", "image": "debian", "command": ["cat"], "stdin": True},
        ],
    },
}
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def place(daemon: Daemon) -> Iterator[str]:
    name = "python-" + uuid.uuid4().hex[:6]
    daemon.kubectl("create", "namespace", name)
    daemon.kubectl("apply", "-n", name, "-f", "-", stdin=json.dumps(POD))
    daemon.kubectl("wait", "-n", name, "--for=condition=Ready", "pod/py", "--timeout=60s", timeout_s=70)
    yield name
    daemon.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def core(daemon: Daemon) -> Iterator[Any]:
    client = kubernetes.config.new_client_from_config(config_file=str(daemon.kubeconfig))
    yield kubernetes.client.CoreV1Api(client)
    client.close()


def execute(core: Any, place: str, *command: str, **options: Any) -> Any:
    flags = {"stdin": False, "stdout": True, "stderr": True, "tty": False, **options}
    call = core.connect_get_namespaced_pod_exec
    return stream.stream(call, "py", place, container="server", command=[*command], **flags)


def test_exec_gives_the_output_as_text(core: Any, place: str) -> None:
    assert execute(core, place, "sh", "-c", "echo out; echo err >&2") in ("out\nerr\n", "err\nout\n")


def test_exec_is_a_conversation_with_an_exit_code(core: Any, place: str) -> None:
    session = execute(core, place, "sh", stdin=True, _preload_content=False)
    session.write_stdin("echo one; echo two >&2\n")
    assert session.readline_stdout(timeout=20) == "one"
    assert session.readline_stderr(timeout=20) == "two"
    session.write_stdin("exit 4\n")
    session.run_forever(timeout=20)
    assert session.returncode == 4
    session.close()


def test_exec_carries_bytes(core: Any, place: str) -> None:
    session = execute(core, place, "cat", stdin=True, _preload_content=False, binary=True)
    blob = os.urandom(1 << 20)
    for at in range(0, len(blob), 1 << 16):
        session.write_stdin(blob[at : at + (1 << 16)])
    received = b""
    while len(received) < len(blob):
        session.update(timeout=20)
        received += session.read_stdout() if session.peek_stdout() else b""
    assert received == blob
    session.close()


def test_exec_of_what_is_not_there_fails_with_a_reason(core: Any, place: str) -> None:
    with pytest.raises(kubernetes.client.ApiException) as caught:
        stream.stream(core.connect_get_namespaced_pod_exec, "none", place, command=["true"], stdout=True)
    assert "404" in str(caught.value)


def test_attach_talks_to_the_main_process(core: Any, place: str) -> None:
    call = core.connect_get_namespaced_pod_attach
    session = stream.stream(
        call, "py", place, container="cat", stdin=True, stdout=True, stderr=False, tty=False, _preload_content=False
    )
    session.write_stdin("hello\n")
    assert session.readline_stdout(timeout=20) == "hello"
    session.close()


def test_port_forward_gives_sockets(core: Any, place: str) -> None:
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "py", place, ports="7000,7001")
    connection = forward.socket(7000)
    connection.settimeout(20)
    blob = os.urandom(1 << 18)
    connection.sendall(blob)
    received = b""
    while len(received) < len(blob):
        received += connection.recv(1 << 16)
    assert received == blob
    refused = forward.socket(7001)
    refused.settimeout(20)
    assert forward.error(7000) is None
    assert "connection refused" in wait_until(lambda: forward.error(7001), what="the refusal of port 7001")
    connection.close()
    refused.close()
