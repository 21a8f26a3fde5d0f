"""Order, restarts, back-off, phases, conditions, events and deletion, with real containers."""

from __future__ import annotations

import time
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, wait_until


def manifest(body: str) -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  terminationGracePeriodSeconds: 1\n{body}"


def apply(daemon: Daemon, namespace: str, body: str) -> None:
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest(body))


def status(daemon: Daemon, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.pod("p", namespace)["status"]
    return found


def wait_phase(daemon: Daemon, namespace: str, phase: str) -> None:
    condition = f"--for=jsonpath={{.status.phase}}={phase}"
    daemon.kubectl("wait", "-n", namespace, condition, "pod/p", "--timeout=40s")


def reasons(daemon: Daemon, namespace: str) -> list[str]:
    events = daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]
    return [event["reason"] for event in events if event["involvedObject"]["name"] == "p"]


def conditions(daemon: Daemon, namespace: str) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status(daemon, namespace)["conditions"]}


def test_init_containers_run_one_by_one_before_the_others(daemon: Daemon, namespace: str) -> None:
    apply(
        daemon,
        namespace,
        """
  volumes: [{name: d, emptyDir: {}}]
  initContainers:
  - {name: one, image: debian, command: [bash, -c, 'sleep 0.3; echo one >> /d/log'], volumeMounts: [{name: d, mountPath: /d}]}
  - {name: two, image: debian, command: [bash, -c, 'echo two >> /d/log'], volumeMounts: [{name: d, mountPath: /d}]}
  containers:
  - {name: main, image: debian, command: [bash, -c, 'cat /d/log; sleep infinity'], volumeMounts: [{name: d, mountPath: /d}]}
""",
    )
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=30s")
    wait_until(lambda: daemon.kubectl("logs", "-n", namespace, "p").stdout == "one\ntwo\n", what="the log")
    states = [entry["state"]["terminated"]["reason"] for entry in status(daemon, namespace)["initContainerStatuses"]]
    assert states == ["Completed", "Completed"]
    assert conditions(daemon, namespace) == dict.fromkeys(
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"], "True"
    )


def test_a_failing_init_container_keeps_the_pod_from_starting(daemon: Daemon, namespace: str) -> None:
    apply(
        daemon,
        namespace,
        """
  restartPolicy: Never
  initContainers: [{name: init, image: debian, command: [bash, -c, 'exit 3']}]
  containers: [{name: main, image: debian, command: [sleep, infinity]}]
""",
    )
    wait_phase(daemon, namespace, "Failed")
    now = status(daemon, namespace)
    assert now["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert now["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert "Init:Error" in daemon.kubectl("get", "pod", "-n", namespace, "p").stdout


@covers("PodSpec.restartPolicy")
def test_on_failure_restarts_until_success(daemon: Daemon, namespace: str) -> None:
    apply(
        daemon,
        namespace,
        """
  restartPolicy: OnFailure
  volumes: [{name: d, emptyDir: {}}]
  containers:
  - {name: main, image: debian, volumeMounts: [{name: d, mountPath: /d}],
     command: [bash, -c, 'test -e /d/seen && exit 0; touch /d/seen; echo first; exit 5']}
""",
    )
    wait_phase(daemon, namespace, "Succeeded")
    container = status(daemon, namespace)["containerStatuses"][0]
    assert container["restartCount"] == 1
    assert container["lastState"]["terminated"]["exitCode"] == 5
    assert daemon.kubectl("logs", "-n", namespace, "p", "--previous").stdout == "first\n"


def test_a_crash_loop_backs_off_and_says_so(daemon: Daemon, namespace: str) -> None:
    apply(daemon, namespace, "  containers: [{name: main, image: debian, command: [bash, -c, 'exit 1']}]")

    def waiting() -> dict[str, Any]:
        entries = status(daemon, namespace).get("containerStatuses", [])
        found: dict[str, Any] = entries[0]["state"].get("waiting", {}) if entries else {}
        return found

    wait_until(lambda: waiting().get("reason") == "CrashLoopBackOff", what="CrashLoopBackOff", timeout_s=30)
    uid = daemon.pod("p", namespace)["metadata"]["uid"]
    text = f"restarting failed container=main pod=p_{namespace}({uid})"
    assert waiting()["message"].startswith("back-off 10s")
    assert text in waiting()["message"]
    wait_until(lambda: "BackOff" in reasons(daemon, namespace), what="the BackOff event")
    assert "CrashLoopBackOff" in daemon.kubectl("get", "pod", "-n", namespace, "p").stdout


def test_deletion_signals_waits_for_the_grace_and_kills(daemon: Daemon, namespace: str) -> None:
    apply(
        daemon,
        namespace,
        """
  terminationGracePeriodSeconds: 2
  containers:
  - {name: polite, image: debian, command: [bash, -c, 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done']}
  - {name: deaf, image: debian, command: [bash, -c, 'trap "" TERM; echo up; while :; do sleep 0.1; done']}
""".replace("  terminationGracePeriodSeconds: 2\n", ""),
    )
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=30s")
    for name in ("polite", "deaf"):
        wait_until(lambda name=name: daemon.kubectl("logs", "-n", namespace, "p", "-c", name).stdout, what="the trap")
    begin = time.monotonic()
    daemon.kubectl("delete", "-n", namespace, "pod", "p", "--grace-period=2", "--wait=false")
    assert "Terminating" in daemon.kubectl("get", "pod", "-n", namespace, "p").stdout
    daemon.kubectl("wait", "-n", namespace, "--for=delete", "pod/p", "--timeout=30s")
    assert time.monotonic() - begin >= 1.5
    assert reasons(daemon, namespace).count("Killing") == 2


def test_a_pod_deleted_while_its_image_cannot_be_had_goes_away(daemon: Daemon, namespace: str) -> None:
    apply(daemon, namespace, "  containers: [{name: main, image: '127.0.0.1:9/none/such:1'}]")
    wait_until(lambda: "Failed" in reasons(daemon, namespace), what="a failed pull")
    daemon.kubectl("delete", "-n", namespace, "pod", "p", "--timeout=20s")
