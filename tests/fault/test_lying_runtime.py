"""An OCI runtime that fails, hangs or lies: pods say so, come up when it is mended, and leave nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from harness.daemon import Daemon, kubectl_binary, running_daemon, wait_until
from harness.lying_runtime import CREATE_FAULTS, LyingRuntime, find_hanging
from harness.pods import build_pod, container_status
from harness.residue import observe_residue

STAYS = ("sleep", "infinity")


@pytest.fixture
def runtime() -> Iterator[LyingRuntime]:
    root = Path(tempfile.mkdtemp(prefix="podhost-lies-"))
    yield LyingRuntime(root)
    shutil.rmtree(root)


@pytest.fixture
def daemon(image_store: Path, runtime: LyingRuntime) -> Iterator[Daemon]:
    """Its back-off is short, and nothing of it is left in the end."""
    with running_daemon(image_store, "--time-scale", "0.01") as running:
        running.terminate()
        before = observe_residue(running)
        running.programs = runtime.programs
        running.start()
        yield running
        for verb in ("create", "exec"):
            runtime.tell(verb, "")
        running.stop()
        assert not observe_residue(running).minus(before)
        assert find_hanging() == []


def last_end(daemon: Daemon, name: str) -> dict[str, object]:
    entry = container_status(daemon, "default", name)
    ends = [(entry.get(which) or {}).get("terminated") or {} for which in ("state", "lastState")]
    return next((end for end in ends if end), {})


def test_runtime_that_does_not_create_is_tried_again(daemon: Daemon, runtime: LyingRuntime) -> None:
    for fault in CREATE_FAULTS:
        runtime.tell("create", fault)
        daemon.apply(build_pod(fault, "debian", *STAYS))
        end = wait_until(partial(last_end, daemon, fault), what=f"the end of a container under {fault}")
        assert (end["reason"], end["exitCode"]) == ("StartError", 128), fault
        assert len(str(end["message"])) <= 12 << 10
        assert fault != "fail" or "told to fail" in str(end["message"])
    runtime.tell("create", "")
    for fault in CREATE_FAULTS:
        daemon.wait(f"pod/{fault}", "condition=Ready", timeout_s=30)
    assert len(daemon.container_pids()) == len(CREATE_FAULTS)
    daemon.kubectl("delete", "pod", "--all", "--timeout=30s")
    assert daemon.container_pids() == {}


def test_runtime_that_says_more_than_a_pipe_holds_is_not_stuck(daemon: Daemon, runtime: LyingRuntime) -> None:
    """conmon reads its stderr only when it has ended."""
    runtime.tell("create", "flood-and-do")
    daemon.apply(build_pod("talks", "debian", *STAYS))
    daemon.wait("pod/talks", "condition=Ready", timeout_s=30)
    assert container_status(daemon, "default", "talks")["restartCount"] == 0
    assert len(daemon.container_pids()) == 1
    daemon.kubectl("delete", "pod", "talks", "--timeout=30s")


def test_runtime_that_hangs_does_not_keep_a_pod_from_being_deleted(daemon: Daemon, runtime: LyingRuntime) -> None:
    runtime.tell("create", "hang")
    daemon.apply(build_pod("stuck", "debian", *STAYS))
    wait_until(find_hanging, what="a runtime that hangs")
    daemon.kubectl("delete", "pod", "stuck", "--timeout=20s")
    wait_until(lambda: not find_hanging(), what="the end of the runtime that hung")


def test_runtime_that_hangs_while_the_daemon_dies_is_swept(daemon: Daemon, runtime: LyingRuntime) -> None:
    runtime.tell("create", "hang")
    daemon.apply(build_pod("stuck", "debian", *STAYS))
    wait_until(find_hanging, what="a runtime that hangs")
    daemon.kill()
    runtime.tell("create", "")
    daemon.start()
    daemon.wait("pod/stuck", "condition=Ready", timeout_s=30)
    assert container_status(daemon, "default", "stuck")["restartCount"] == 0
    assert find_hanging() == []
    assert len(daemon.container_pids()) == 1


def test_exec_that_fails_or_hangs_leaves_no_process(daemon: Daemon, runtime: LyingRuntime) -> None:
    daemon.apply(build_pod("good", "debian", *STAYS))
    daemon.wait("pod/good", "condition=Ready", timeout_s=30)
    for fault in ("fail", "die", "lie"):
        runtime.tell("exec", fault)
        told = daemon.kubectl("exec", "good", "--", "true", check=False, timeout_s=20)
        assert told.returncode != 0 or fault == "lie", (fault, told)
    runtime.tell("exec", "hang")
    command = [kubectl_binary(), "exec", "good", "--", "true"]
    with subprocess.Popen(command, env=daemon.environment()) as client:
        wait_until(find_hanging, what="a runtime that hangs")
        client.kill()
    wait_until(lambda: not find_hanging(), what="the end of the runtime that hung")
    runtime.tell("exec", "")
    assert daemon.kubectl("exec", "good", "--", "echo", "again").stdout == "again\n"
