"""``podhost --context NAME``: the same commands against a server that is not the machine's own instance.

Two such servers: another instance by its kubeconfig (TLS, client certificate), and one that has nothing of podhost,
as any cluster.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from harness.daemon import Daemon

POD = """
apiVersion: v1
kind: Pod
metadata: {name: far, labels: {app: far}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: debian, command: [sh, -c, "echo hello; echo bad >&2; exec sleep 1000"]}
"""


class PlainCluster:
    """Plain HTTP in front of an instance, without podhost's own API groups.  One request a connection."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(1 << 16)
            if not data:
                return client.close()
            head += data
        if head.split(b" ", 2)[1].startswith(b"/apis/podhost.dev"):
            client.sendall(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\nConnection: close\r\n\r\n404 page not found\n"
            )
            return client.close()
        if b"Upgrade:" not in head:
            head = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(str(self._target))
            upstream.sendall(head)
            threading.Thread(target=_pump, args=(client, upstream), daemon=True).start()
            _pump(upstream, client)
        client.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(params=["instance", "plain"])
def other(request: pytest.FixtureRequest, daemon: Daemon, namespace: str, tmp_path: Path) -> Iterator[Daemon]:
    """A caller whose own instance does not run, and whose kubeconfig has the context ``far``."""
    path = tmp_path / "kubeconfig"
    plain = None
    if request.param == "plain":
        plain = PlainCluster(daemon.socket_path)
        context = {"name": "far", "context": {"cluster": "far", "namespace": namespace}}
        cluster = {"name": "far", "cluster": {"server": plain.server}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": []}
        path.write_text(json.dumps(config))
    else:
        config = yaml.safe_load(daemon.kubeconfig.read_text())
        cluster = {**config["contexts"][0]["context"], "namespace": namespace}
        path.write_text(yaml.safe_dump({**config, "contexts": [{"name": "far", "context": cluster}]}))
    caller = Daemon(tmp_path, daemon.image_store)
    assert not caller.socket_path.exists()
    yield caller
    if plain is not None:
        plain.close()


def test_every_command_works_or_says_that_only_podhost_can(
    other: Daemon, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    is_plain = "plain" in request.node.name
    path = tmp_path / "pod.yaml"
    path.write_text(POD)

    def run(*args: str, code: int = 0) -> str:
        done = other.podhost("--context", "far", *args, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "pod/far ready after" in run("up", "-d", str(path))
    assert "far    1/1     Running" in run("ps")
    assert json.loads(run("ps", "far", "-o", "json"))["metadata"]["name"] == "far"
    assert set(run("logs", "far").splitlines()) == {"hello", "bad"}
    only_errors = run("logs", "far", "--stream", "stderr")
    assert ("feature gate PodLogsQuerySplitStreams" in only_errors) is is_plain
    assert run("exec", "far", "--", "hostname") == "far\n"
    assert run("describe", "far").startswith("pod/far  ready\n")
    assert "Container started" in run("events", "far")
    assert "is as in" in run("check", "--diff", str(path))
    assert "server   " in run("version")
    assert run("completion", "fish", "--ask", "--context", "far", "logs", "f").startswith("far\t")
    assert "pod/far ready after" in run("restart", "far", "--now")

    for words in (["channels", "far"], ["ports", "far"], ["image", "ls"]):
        shown = run(*words, code=1 if is_plain else 0)
        assert ("only podhost" in shown and "leave --context and --kubeconfig out" in shown) is is_plain
    for command in ("stop", "serve", "doctor", "kubeconfig"):
        assert "this is about podhost on this machine" in run(command, code=1)
    assert "pod/far deleted" in run("down", str(path))
    assert not other.socket_path.exists(), "nothing was started on this machine"
