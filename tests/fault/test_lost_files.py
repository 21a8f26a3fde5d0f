"""Somebody deletes, by hand, what the daemon works with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import build_pod, container_status
from harness.residue import observe_residue


@pytest.mark.parametrize("shared", [False, True])
def test_run_directory_removed_while_the_daemon_runs(image_store: Path, shared: bool) -> None:
    with running_daemon(image_store) as daemon:
        daemon.apply(build_pod("p", "debian", "sleep", "infinity", shareProcessNamespace=shared))
        daemon.wait("pod/p", "condition=Ready", timeout_s=20)
        before = set(daemon.container_pids())
        # From outside of its mount namespace; pins are mounts and stay busy.
        subprocess.run(["rm", "-rf", str(daemon.run_root / daemon.instance)], check=False, capture_output=True)
        daemon.kill()
        daemon.start()
        wait_until(lambda: _runs_once(daemon, before, 1 + shared), what="the pod to run, once, in a new sandbox")
        assert daemon.kubectl("exec", "p", "--", "echo", "alive").stdout == "alive\n"
        daemon.stop()
        assert not observe_residue(daemon)


def _runs_once(daemon: Daemon, before: set[str], count: int) -> bool:
    pids = set(daemon.container_pids())
    current = container_status(daemon, "default", "p").get("containerID", "").removeprefix("podhost://")
    return len(pids) == count and not pids & before and current in pids


def test_all_records_and_layers_removed_while_no_daemon_runs(image_store: Path) -> None:
    with running_daemon(image_store) as daemon:
        daemon.apply(build_pod("p", "debian", "sleep", "infinity"))
        daemon.wait("pod/p", "condition=Ready", timeout_s=20)
        before = set(daemon.container_pids())
        daemon.kill()
        data = daemon.data_root / daemon.instance
        shutil.rmtree(data / "runtime")
        shutil.rmtree(data / "layers")
        (data / "kubelet").rename(data / "kubelet-was")
        daemon.start()
        wait_until(lambda: _runs_once(daemon, before, 1), what="the pod to run, once, in a new container")
        daemon.stop()
        assert not observe_residue(daemon)
