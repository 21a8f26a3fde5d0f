"""SIGKILL of the daemon loses nothing; ``stop`` leaves nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.residue import observe_residue

COUNTER = """
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: fast
    image: debian
    command: [bash, -c, 'i=0; while :; do echo $((i++)); read -t 0.002 <> <(:); done']
  - name: quiet
    image: debian
    command: [sleep, infinity]
"""


@pytest.fixture
def own_daemon(image_store: Path) -> object:
    with running_daemon(image_store) as running:
        yield running


def numbers(log: str) -> list[int]:
    return [int(line) for line in re.findall(r"^\d+$", log, re.M)]


def test_a_killed_daemon_adopts_its_containers_and_loses_no_line(own_daemon: Daemon) -> None:
    own_daemon.apply(COUNTER)
    own_daemon.wait("pod/counter", "condition=Ready")
    before = own_daemon.container_pids()
    assert len(before) == 2
    for _ in range(3):
        own_daemon.kill()
        own_daemon.start()
        assert own_daemon.kubectl("get", "pod", "counter").stdout.count("Running") == 1
    assert own_daemon.container_pids() == before
    status = own_daemon.pod("counter")["status"]
    assert [entry["restartCount"] for entry in status["containerStatuses"]] == [0, 0]
    lines = numbers(own_daemon.kubectl("logs", "counter", "-c", "fast").stdout)
    assert lines == list(range(len(lines)))
    assert len(lines) > 100


def test_an_exit_while_no_daemon_ran_is_seen_with_its_code(own_daemon: Daemon) -> None:
    """Missed exits: kubernetes#139262, containerd#9070."""
    own_daemon.apply(
        """
        apiVersion: v1
        kind: Pod
        metadata: {name: short}
        spec:
          restartPolicy: Never
          containers:
          - {name: c, image: debian, command: [bash, -c, 'sleep 1; exit 7']}
        """
    )
    own_daemon.wait("pod/short", "condition=Ready")
    own_daemon.kill()
    wait_until(lambda: not own_daemon.container_pids(), what="the container to end")
    own_daemon.start()
    own_daemon.wait("pod/short", "jsonpath={.status.phase}=Failed")
    terminated = own_daemon.pod("short")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert terminated["exitCode"] == 7
    assert terminated["reason"] == "Error"


def test_sigterm_leaves_containers_running_for_the_next_daemon(own_daemon: Daemon) -> None:
    own_daemon.apply(COUNTER)
    own_daemon.wait("pod/counter", "condition=Ready")
    before = own_daemon.container_pids()
    own_daemon.terminate()
    assert own_daemon.container_pids() == before
    own_daemon.start()
    assert own_daemon.container_pids() == before


def test_after_stop_nothing_is_left(image_store: Path) -> None:
    with running_daemon(image_store) as daemon:
        daemon.stop()
        before = observe_residue(daemon)
        daemon.start()
        daemon.apply(COUNTER)
        daemon.kubectl("expose", "pod", "counter", "--name=c", "--type=NodePort", "--port=80", "--selector=a=b")
        daemon.wait("pod/counter", "condition=Ready")
        assert observe_residue(daemon).minus(before)
        daemon.stop()
        assert not observe_residue(daemon).minus(before)


def test_a_signal_leaves_nothing_when_there_are_no_pods(image_store: Path) -> None:
    with running_daemon(image_store) as daemon:
        assert observe_residue(daemon)
        daemon.terminate()
        assert not observe_residue(daemon)


def fail_to_start(daemon: Daemon, words: str, *flags: str) -> None:
    daemon.extra_flags = flags
    with pytest.raises(RuntimeError, match=words):
        daemon.start()
    assert daemon.process is not None
    assert daemon.process.wait(30) == 1
    daemon.extra_flags = ()


def test_a_start_that_fails_leaves_nothing_new_and_nothing_of_pods_is_lost(image_store: Path) -> None:
    with running_daemon(image_store) as daemon, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        daemon.terminate()
        fail_to_start(daemon, "the port is in use", "--api-port", port)
        assert not observe_residue(daemon)
        fail_to_start(daemon, "want a range from /12 to /28", "--pod-cidr", "203.0.113.0/30")
        assert not observe_residue(daemon)
        daemon.start()
        daemon.apply(COUNTER)
        daemon.wait("pod/counter", "condition=Ready")
        before = daemon.container_pids()
        daemon.kill()
        fail_to_start(daemon, "the port is in use", "--api-port", port)
        daemon.start()
        assert daemon.container_pids() == before
        daemon.wait("pod/counter", "condition=Ready")


def test_two_instances_each_run_a_pod_of_the_same_name(own_daemon: Daemon, image_store: Path) -> None:
    with running_daemon(image_store) as other:
        for daemon in (own_daemon, other):
            daemon.apply(COUNTER)
            daemon.wait("pod/counter", "condition=Ready")
        ips = {daemon.pod("counter")["status"]["podIP"] for daemon in (own_daemon, other)}
        assert len(ips) == 2
        other.kubectl("delete", "pod", "counter", "--timeout=30s")
        assert own_daemon.kubectl("get", "pod", "counter").stdout.count("Running") == 1
