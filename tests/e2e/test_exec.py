"""What kubectl shows when a command cannot be run."""

from __future__ import annotations

from harness.daemon import Daemon
from harness.pods import build_pod, wait_for_waiting


def test_exec_into_a_container_that_waits_says_that_it_is_not_found(daemon: Daemon, namespace: str) -> None:
    containers = [{"name": "c", "image": "example.invalid/none", "imagePullPolicy": "Never"}]
    pod = build_pod("waits", "", containers=containers)
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    wait_for_waiting(daemon, namespace, "waits", "ErrImageNeverPull")
    result = daemon.kubectl("exec", "-n", namespace, "waits", "--", "true", check=False)
    assert result.returncode == 1
    wanted = 'error: Internal error occurred: unable to upgrade connection: container not found ("c")\n'
    assert result.stderr == wanted
    result = daemon.podhost("-n", namespace, "exec", "waits", "--", "true", check=False)
    assert result.returncode != 0
    assert 'container not found ("c")' in result.stderr


def test_exec_into_a_finished_pod_names_its_phase(daemon: Daemon, namespace: str) -> None:
    pod = build_pod("done", "debian", "true", restartPolicy="Never")
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    daemon.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/done", "--timeout=30s")
    wanted = "cannot exec into a container in a completed pod; current phase is Succeeded"
    result = daemon.kubectl("exec", "-n", namespace, "done", "--", "true", check=False)
    assert (result.returncode, result.stderr) == (1, f"error: {wanted}\n")
    result = daemon.podhost("-n", namespace, "exec", "done", "--", "true", check=False)
    assert wanted in result.stderr


def test_exec_into_a_container_that_does_not_exist_names_it(daemon: Daemon, namespace: str) -> None:
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=build_pod("one", "debian", "sleep", "infinity"))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/one", "--timeout=30s")
    result = daemon.kubectl("exec", "-n", namespace, "one", "-c", "two", "--", "true", check=False)
    assert result.returncode == 1
    assert "container two is not valid for pod one" in result.stderr or "container not found" in result.stderr
