"""conmon is killed while its container runs, while it starts and while it stops."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.lying_runtime import LyingRuntime, find_hanging
from harness.pods import build_pod, container_status
from harness.residue import observe_residue

STAYS = ("bash", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done")
STUBBORN = ("bash", "-c", "trap '' TERM; while :; do sleep 0.05; done")


@pytest.fixture
def runtime() -> Iterator[LyingRuntime]:
    root = Path(tempfile.mkdtemp(prefix="podhost-lies-"))
    yield LyingRuntime(root)
    shutil.rmtree(root)


@pytest.fixture
def daemon(image_store: Path, runtime: LyingRuntime) -> Iterator[Daemon]:
    with running_daemon(image_store, "--time-scale", "0.01") as running:
        running.terminate()
        before = observe_residue(running)
        running.programs = runtime.programs
        running.start()
        yield running
        running.stop()
        assert not observe_residue(running).minus(before)
        assert find_hanging() == []


def find_monitors(daemon: Daemon) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if words[0].endswith(b"conmon") and any(str(daemon.root).encode() in word for word in words):
                found.append(int(entry.parent.name))
    return found


def kill_monitors(daemon: Daemon) -> None:
    killed = set(wait_until(lambda: find_monitors(daemon), what="a monitor"))
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not killed & set(find_monitors(daemon)), what="the end of the monitors")


@pytest.mark.parametrize("daemon_lives", [True, False], ids=["daemon lives", "daemon dead"])
def test_killed_while_running(daemon: Daemon, daemon_lives: bool) -> None:
    """Nobody reads the container's output any more: it is ended, and the one after it has a monitor again."""
    daemon.apply(build_pod("web", "debian", *STAYS))
    daemon.wait("pod/web", "condition=Ready", timeout_s=30)
    if not daemon_lives:
        daemon.kill()
    kill_monitors(daemon)
    if not daemon_lives:
        daemon.start()
    wait_until(lambda: container_status(daemon, "default", "web")["restartCount"] == 1, what="a restart")
    lost = container_status(daemon, "default", "web")["lastState"]["terminated"]
    assert (lost["exitCode"], lost["reason"]) == (137, "Error")
    assert "monitor (conmon) was killed" in lost["message"]
    daemon.wait("pod/web", "condition=Ready", timeout_s=30)
    assert len(find_monitors(daemon)) == 1
    assert len(daemon.container_pids()) == 1
    daemon.kubectl("delete", "pod", "web", "--timeout=20s")


def test_killed_while_starting(daemon: Daemon, runtime: LyingRuntime) -> None:
    runtime.tell("create", "hang")
    daemon.apply(build_pod("web", "debian", *STAYS))
    wait_until(find_hanging, what="a runtime that hangs")
    runtime.tell("create", "")
    kill_monitors(daemon)
    daemon.wait("pod/web", "condition=Ready", timeout_s=30)
    assert find_hanging() == []
    assert len(daemon.container_pids()) == 1


@pytest.mark.parametrize("command", [STAYS, STUBBORN], ids=["obeys", "ignores"])
def test_killed_while_stopping(daemon: Daemon, command: tuple[str, ...]) -> None:
    daemon.apply(build_pod("web", "debian", *command, terminationGracePeriodSeconds=2))
    daemon.wait("pod/web", "condition=Ready", timeout_s=30)
    daemon.kubectl("delete", "pod", "web", "--wait=false")
    for pid in find_monitors(daemon):  # those who obey may be gone by now
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    daemon.kubectl("wait", "--for=delete", "pod/web", "--timeout=20s")
    assert daemon.container_pids() == {}
