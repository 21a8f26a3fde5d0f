"""A start that fails, or is killed, at any of its steps: pods that live do not notice, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon
from harness.residue import observe_residue
from podhost.aiokit import failpoint
from podhost.daemon import start_undo

STEPS = [name for name in failpoint.known() if name.startswith("daemon.start.")]
PROGRAM = "#!/bin/sh\nexec /bin/false\n"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "debian", "command": ["sleep", "infinity"]}],
    },
}


def fail_to_start(daemon: Daemon, words: str, *, failpoints: str = "") -> None:
    with pytest.raises(RuntimeError, match=words):
        daemon.start(failpoints=failpoints)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 1


def die_while_starting(daemon: Daemon, step: str) -> None:
    with pytest.raises(RuntimeError):
        daemon.start(failpoints=f"{step}=kill")
    assert daemon.process is not None
    assert daemon.process.wait(30) == -signal.SIGKILL
    daemon.process = None


def test_all_steps_are_known() -> None:
    assert start_undo.STEP_PLAN in STEPS
    assert len(STEPS) == 9


@pytest.mark.timeout(300)  # many lives of one daemon
def test_a_first_start_that_fails_leaves_nothing(image_store: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "d", image_store)
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    for step in STEPS:
        fail_to_start(daemon, "failpoint", failpoints=f"{step}=error:EIO")
        assert not observe_residue(daemon), step

    # A step that fails halfway: links are there, rules cannot be made, nor deleted.
    daemon.programs = tmp_path / "bin"
    daemon.programs.mkdir()
    (daemon.programs / "nft").write_text(PROGRAM)
    (daemon.programs / "nft").chmod(0o755)
    fail_to_start(daemon, "nft")
    assert not observe_residue(daemon)
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding

    daemon.programs = None
    daemon.start()
    daemon.stop()
    assert not observe_residue(daemon)


@pytest.mark.timeout(300)  # many lives of one daemon
def test_pods_live_through_starts_that_fail(image_store: Path) -> None:
    with running_daemon(image_store) as daemon:
        daemon.apply(json.dumps(POD))
        daemon.wait("pod/web", "condition=Ready")
        pids = daemon.container_pids()
        daemon.terminate()
        before = observe_residue(daemon)
        for step in (start_undo.STEP_STORE, start_undo.STEP_NETWORK, start_undo.STEP_KUBELET, start_undo.STEP_SERVING):
            fail_to_start(daemon, "failpoint", failpoints=f"{step}=error:EIO")
            after = observe_residue(daemon)
            assert (after.links, after.tables, after.cgroups) == (before.links, before.tables, before.cgroups), step
            assert not os.path.lexists(daemon.socket_path), step
        daemon.start()
        assert daemon.container_pids() == pids
        assert daemon.pod("web")["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.timeout(300)  # many lives of one daemon
def test_a_first_start_that_is_killed_leaves_nothing_that_the_next_daemon_does_not_take_away(
    image_store: Path, tmp_path: Path
) -> None:
    for number, step in enumerate((start_undo.STEP_PLAN, start_undo.STEP_NETWORK, start_undo.STEP_SERVING)):
        daemon = Daemon(tmp_path / str(number), image_store)
        die_while_starting(daemon, step)
        daemon.start()
        daemon.stop()
        assert not observe_residue(daemon), step


@pytest.mark.timeout(300)  # many lives of one daemon
def test_pods_live_through_starts_that_are_killed(image_store: Path) -> None:
    with running_daemon(image_store) as daemon:
        daemon.apply(json.dumps(POD))
        daemon.wait("pod/web", "condition=Ready")
        pids = daemon.container_pids()
        daemon.kill()
        for step in (start_undo.STEP_STORE, start_undo.STEP_NETWORK, start_undo.STEP_KUBELET, start_undo.STEP_SERVING):
            die_while_starting(daemon, step)
            assert daemon.container_pids() == pids, step
        daemon.start()
        daemon.wait("pod/web", "condition=Ready")
        assert daemon.container_pids() == pids
        assert daemon.pod("web")["status"]["containerStatuses"][0]["restartCount"] == 0
