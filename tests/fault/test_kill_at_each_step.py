"""SIGKILL of the daemon after each numbered step of starting, restarting and stopping a pod.

After the next start the pod converges, and after ``stop`` nothing is left.  The steps are the failpoints that
the code registers, so a new step is covered the day it is written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import container_status
from harness.residue import observe_residue

POD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a.conf: "value"}
---
apiVersion: v1
kind: Pod
metadata: {name: victim}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: settings, configMap: {name: settings}}
  - {name: host, hostPath: {path: /etc, type: Directory}}
  containers:
  - name: a
    image: debian
    command: [sleep, infinity]
    lifecycle:
      postStart: {exec: {command: ["true"]}}
      preStop: {exec: {command: ["true"]}}
    readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
    volumeMounts:
    - {name: disk, mountPath: /disk}
    - {name: memory, mountPath: /memory}
    - {name: host, mountPath: /host, readOnly: true}
    - {name: settings, mountPath: /etc/a.conf, subPath: a.conf}
  - name: b
    image: debian
    command: [sleep, infinity]
    volumeMounts: [{name: disk, mountPath: /disk}]
"""

SHARED_PROCESSES = POD.replace("spec:\n", "spec:\n  shareProcessNamespace: true\n")
"""Has a first process of its own, and so one more step."""

_LIST_STEPS = """
import podhost.daemon.app
from podhost.aiokit import failpoint
print("\\n".join(sorted(failpoint.known())))
"""


def steps(*prefixes: str) -> list[str]:
    """Names of the registered steps, read from the program itself."""
    out = subprocess.run([sys.executable, "-c", _LIST_STEPS], check=True, capture_output=True, text=True).stdout
    return [name for name in out.split() if name.startswith(prefixes)]


START_STEPS = steps(
    *("pod.start", "sandbox.run", "container.create", "container.start", "snapshot.prepare", "exec."),
    *("volumes.mount", "volumes.subpath", "network.attach"),
)
STOP_STEPS = steps(
    *("pod.stop", "sandbox.stop", "sandbox.remove", "container.stop", "container.remove", "snapshot.remove"),
    *("volumes.unmount", "network.detach"),
)


RESTART_STEPS = [
    *(s for s in START_STEPS if s.startswith(("pod.start", "container.")) and not s.endswith("sandbox")),
    *(s for s in STOP_STEPS if s.startswith(("container.stop", "pod.stop.05"))),
]
"""What happens to one container of a pod that lives on: its exit, or a new image, which has it stopped first."""

RESTARTED = """
apiVersion: v1
kind: Pod
metadata: {name: phoenix}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: disk, emptyDir: {}}]
  containers:
  - name: a
    image: debian
    command: [bash, -c, "trap '' TERM; while :; do sleep 0.05; done"]
    volumeMounts: [{name: disk, mountPath: /disk}]
    lifecycle:
      postStart: {exec: {command: ["true"]}}
      preStop: {exec: {command: ["true"]}}
  - name: stays
    image: debian
    command: [sleep, infinity]
"""


@pytest.fixture(scope="module")
def stopped(image_store: Path) -> Iterator[Daemon]:
    """One for all steps: certificates and the like are made once."""
    with running_daemon(image_store) as running:
        running.stop()
        yield running


@pytest.fixture
def daemon(stopped: Daemon) -> Iterator[Daemon]:
    """Not running; a failed test leaves nothing to the next."""
    yield stopped
    if stopped.process is not None:
        stopped.kill()
        stopped.start()
        stopped.stop()


def manifest_for(step: str) -> str:
    return SHARED_PROCESSES if "holder" in step else POD


def test_there_are_steps_to_kill_at() -> None:
    assert len(START_STEPS) >= 8
    assert len(STOP_STEPS) >= 4


@pytest.mark.parametrize("step", START_STEPS)
def test_killed_while_starting_the_pod_still_comes_up(daemon: Daemon, step: str) -> None:
    before = observe_residue(daemon)
    daemon.start(failpoints=f"{step}=kill")
    daemon.kubectl("apply", "-f", "-", stdin=manifest_for(step))
    daemon.wait_dead()
    daemon.start()
    daemon.wait("pod/victim", "condition=Ready", timeout_s=30)
    statuses = daemon.pod("victim")["status"]["containerStatuses"]
    wanted = {status["containerID"].removeprefix("podhost://") for status in statuses}
    # Besides them there may only be the first process of a shared process namespace, never a forgotten copy.
    extra = set(daemon.container_pids()) - wanted
    assert wanted <= set(daemon.container_pids())
    assert len(extra) == ("holder" in step)
    daemon.kubectl("delete", "pod", "victim", "--timeout=30s")
    daemon.stop()
    assert not observe_residue(daemon).minus(before)


@pytest.mark.timeout(300)  # many lives of one daemon
def test_killed_while_restarting_a_container_is_restarted_once(image_store: Path) -> None:
    with running_daemon(image_store, "--time-scale", "0.001") as daemon:
        daemon.terminate()
        before = observe_residue(daemon)
        daemon.start()
        daemon.apply(RESTARTED)
        daemon.wait("pod/phoenix", "condition=Ready", timeout_s=30)
        stays = container_status(daemon, "default", "phoenix", "stays")["containerID"]
        for number, step in enumerate(RESTART_STEPS):
            daemon.kill()
            daemon.start(failpoints=f"{step}=kill")
            _restart_by_force(daemon, number, is_stop=step in STOP_STEPS)
            daemon.wait_dead()
            daemon.start()
            _verify_restarted_once(daemon, number + 1, step)
        assert container_status(daemon, "default", "phoenix", "stays")["containerID"] == stays
        daemon.kubectl("delete", "pod", "phoenix", "--timeout=30s")
        daemon.stop()
        assert not observe_residue(daemon).minus(before)


def _restart_by_force(daemon: Daemon, number: int, *, is_stop: bool) -> None:
    """Where the step is one of a stop, by another name of the same image; else the process dies."""
    if is_stop:
        image = ["docker.io/library/debian:latest", "debian"][number % 2]
        with contextlib.suppress(AssertionError):  # the daemon may die of it before it answers
            daemon.kubectl("set", "image", "pod/phoenix", f"a={image}")
        return
    container_id = container_status(daemon, "default", "phoenix", "a")["containerID"].removeprefix("podhost://")
    os.kill(daemon.container_pids()[container_id], signal.SIGKILL)


def _verify_restarted_once(daemon: Daemon, count: int, step: str) -> None:
    def has_restarted() -> bool:
        status = container_status(daemon, "default", "phoenix", "a")
        return status["restartCount"] >= count and "running" in status["state"]

    wait_until(has_restarted, timeout_s=30, what=f"restart {count} after {step}")
    daemon.wait("pod/phoenix", "condition=Ready", timeout_s=30)
    assert container_status(daemon, "default", "phoenix", "a")["restartCount"] == count, step
    assert len(daemon.container_pids()) == 2, step


@pytest.mark.parametrize("step", STOP_STEPS)
def test_killed_while_stopping_the_pod_still_goes_away(daemon: Daemon, step: str) -> None:
    before = observe_residue(daemon)
    daemon.start(failpoints=f"{step}=kill")
    daemon.kubectl("apply", "-f", "-", stdin=manifest_for(step))
    daemon.wait("pod/victim", "condition=Ready", timeout_s=30)
    daemon.kubectl("delete", "pod", "victim", "--wait=false")
    daemon.wait_dead()
    daemon.start()
    daemon.kubectl("wait", "--for=delete", "pod/victim", "--timeout=30s")
    assert not daemon.container_pids()
    daemon.stop()
    assert not observe_residue(daemon).minus(before)
