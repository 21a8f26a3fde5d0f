"""What the status says of containers: how they run, how they ended and with which words."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from harness.covers import covers
from harness.daemon import Daemon, kubectl_binary, wait_until
from harness.pods import container_status, wait_for_event


def _container(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "debian", "command": ["bash", "-c", script], **fields}


def _apply(daemon: Daemon, namespace: str, name: str, *containers: dict[str, Any], **spec: Any) -> None:
    spec = {"terminationGracePeriodSeconds": 1, **spec, "containers": list(containers)}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))


def _wait_phase(daemon: Daemon, namespace: str, name: str, phase: str) -> None:
    condition = f"--for=jsonpath={{.status.phase}}={phase}"
    daemon.kubectl("wait", "-n", namespace, condition, f"pod/{name}", "--timeout=40s")


@covers(
    "Container.command", "Container.env", "Container.image", "Container.name", "Container.resources",
    "Container.restartPolicy", "Container.stdin", "Container.terminationMessagePath",
    "Container.terminationMessagePolicy", "Container.workingDir", "PodSpec.resources", "PodSpec.restartPolicy",
)  # fmt: skip
@covers(
    "Container.command", "Container.image", "Container.name", "Container.resources",
    "Container.terminationMessagePath", "Container.terminationMessagePolicy", "Container.workingDir",
    "ResourceRequirements.limits",
)  # fmt: skip
def test_ends_are_told_with_reason_exit_code_and_last_words(daemon: Daemon, namespace: str) -> None:
    eat = "x=$(head -c 300M /dev/zero | tr '\\0' x); echo ${#x}"
    logs = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    _apply(
        daemon, namespace, "p",
        _container("file", "echo in the file > /tmp/last; echo in the log; exit 3", terminationMessagePath="/tmp/last"),
        _container("log", "for i in $(seq 200); do echo line $i; done; exit 1", **logs),
        _container("both", "echo in the log; echo in the file > /dev/termination-log; exit 1", **logs),
        _container("good", "echo in the log", **logs),
        _container("signal", "(kill -TERM $BASHPID); exit $?"),
        _container("hungry", eat, resources={"limits": {"memory": "24Mi"}}),
        {"name": "absent", "image": "debian", "command": ["/no/such/program"]},
        _container("nowhere", "pwd", workingDir="/made/for/it"),
        restartPolicy="Never",
    )  # fmt: skip
    _wait_phase(daemon, namespace, "p", "Failed")
    pod = daemon.pod("p", namespace)
    ends = {entry["name"]: entry["state"]["terminated"] for entry in pod["status"]["containerStatuses"]}
    found = {name: (end["exitCode"], end["reason"]) for name, end in ends.items()}
    assert found == {
        "file": (3, "Error"), "log": (1, "Error"), "both": (1, "Error"), "good": (0, "Completed"),
        "signal": (143, "Error"), "hungry": (137, "OOMKilled"), "absent": (128, "StartError"),
        "nowhere": (0, "Completed"),
    }  # fmt: skip
    assert ends["file"]["message"] == ends["both"]["message"] == "in the file\n"
    assert ends["log"]["message"].splitlines()[-1] == "line 200"
    assert len(ends["log"]["message"].splitlines()) == 80
    assert "message" not in ends["good"]
    assert 'exec: "/no/such/program": stat /no/such/program: no such file or directory' in ends["absent"]["message"]
    assert ends["absent"]["startedAt"] == "1970-01-01T00:00:00Z"
    for end in ends.values():
        assert end["startedAt"] <= end["finishedAt"]
        assert end["containerID"].startswith("podhost://")
    assert daemon.kubectl("logs", "-n", namespace, "p", "-c", "nowhere").stdout == "/made/for/it\n"
    conditions = {c["type"]: (c["status"], c.get("reason")) for c in pod["status"]["conditions"]}
    assert conditions["Ready"] == conditions["ContainersReady"] == ("False", "PodFailed")


@covers(
    "Container.readinessProbe", "Container.volumeMounts", "PodReadinessGate.conditionType",
    "PodSpec.readinessGates", "PodSpec.volumes", "Probe.successThreshold", "ResourceRequirements.limits",
    "ResourceRequirements.requests",
)  # fmt: skip
@covers(
    "Container.readinessProbe", "Container.volumeMounts", "PodReadinessGate.conditionType",
    "PodSpec.readinessGates", "PodSpec.volumes", "Probe.successThreshold", "ResourceRequirements.requests",
)  # fmt: skip
def test_what_runs_is_shown_as_it_runs(daemon: Daemon, namespace: str) -> None:
    resources = {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    mounts = [{"name": "d", "mountPath": "/d", "readOnly": True}]
    count = {"command": ["bash", "-c", "echo once more >> /tmp/asked"]}
    probe = {"exec": count, "periodSeconds": 1, "successThreshold": 3}
    _apply(
        daemon, namespace, "p", _container("c", "exec sleep infinity", resources=resources, volumeMounts=mounts),
        _container("plain", "exec sleep infinity", readinessProbe=probe), volumes=[{"name": "d", "emptyDir": {}}],
        readinessGates=[{"conditionType": "example.com/open"}],
    )  # fmt: skip
    daemon.kubectl("wait", "-n", namespace, "--for=condition=ContainersReady", "pod/p", "--timeout=30s")
    pod = daemon.pod("p", namespace)
    status = pod["status"]
    assert (status["phase"], status["qosClass"], status["observedGeneration"]) == ("Running", "Burstable", 1)
    first, plain = status["containerStatuses"]
    wanted = {"limits": resources["limits"], "requests": {"cpu": "100m", "memory": "64Mi"}}
    assert (first["resources"], first["allocatedResources"]) == (wanted, wanted["requests"])
    assert first["volumeMounts"][0] == {**mounts[0], "recursiveReadOnly": "Disabled"}
    assert (plain["resources"], "allocatedResources" in plain) == ({}, False)
    assert (plain["image"], plain["stopSignal"]) == ("docker.io/library/debian:latest", "SIGTERM")
    assert plain["user"] == {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
    assert (plain["ready"], plain["started"], plain["restartCount"], plain["lastState"]) == (True, True, 0, {})

    asked = daemon.kubectl("exec", "-n", namespace, "p", "-c", "plain", "--", "cat", "/tmp/asked").stdout
    assert asked.count("once more") >= 3

    # Ready when all containers are and the gate is open.
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    text = 'corresponding condition of pod readiness gate "example.com/open" does not exist.'
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "ReadinessGatesNotReady", text)
    gate = {"type": "example.com/open", "status": "True"}
    patch = json.dumps({"status": {"conditions": [gate]}})
    daemon.kubectl("patch", "pod", "-n", namespace, "p", "--subresource=status", "-p", patch)
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=30s")


@covers("Container.lifecycle", "Lifecycle.stopSignal", "PodSpec.activeDeadlineSeconds")
def test_a_pod_is_ended_when_its_time_is_up(daemon: Daemon, namespace: str) -> None:
    trap = "trap 'echo asked to > /dev/termination-log; exit 0' USR1; while :; do sleep 0.05; done"
    end = {"lifecycle": {"stopSignal": "SIGUSR1"}}
    _apply(daemon, namespace, "p", _container("c", trap, **end), activeDeadlineSeconds=2, os={"name": "linux"})
    _wait_phase(daemon, namespace, "p", "Failed")
    status = daemon.pod("p", namespace)["status"]
    text = "Pod was active on the node longer than the specified deadline"
    assert (status["reason"], status["message"]) == ("DeadlineExceeded", text)
    assert wait_for_event(daemon, namespace, "p", "DeadlineExceeded") == text
    (entry,) = status["containerStatuses"]
    assert (entry["stopSignal"], entry["state"]["terminated"]["message"]) == ("SIGUSR1", "asked to\n")


@covers("PodSpec.initContainers")
def test_a_sidecar_starts_first_comes_back_and_keeps_no_pod_from_completing(daemon: Daemon, namespace: str) -> None:
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    live = "echo up >> /d/log; while [ ! -e /d/die ]; do sleep 0.05; done; rm /d/die; exit 1"
    side = _container("side", live, restartPolicy="Always", **mount)
    work = "until [ -s /d/log ]; do sleep 0.05; done; cat /d/log; touch /d/die; until [ $(grep -c up /d/log) = 2 ]; do sleep 0.05; done"
    _apply(
        daemon, namespace, "p", _container("work", work, **mount), initContainers=[side], restartPolicy="Never",
        volumes=[{"name": "d", "emptyDir": {}}],
    )  # fmt: skip
    _wait_phase(daemon, namespace, "p", "Succeeded")
    assert daemon.kubectl("logs", "-n", namespace, "p", "-c", "work").stdout == "up\n"
    entry = container_status(daemon, namespace, "p", "side")
    assert entry["restartCount"] == 1
    began = container_status(daemon, namespace, "p", "work")["state"]["terminated"]["startedAt"]
    assert entry["lastState"]["terminated"]["startedAt"] <= began
    assert entry["lastState"]["terminated"]["exitCode"] == 1
    assert "terminated" in entry["state"]
    assert daemon.kubectl("logs", "-n", namespace, "p", "-c", "side", "--previous").returncode == 0


@covers("Container.args", "Container.stdin", "Container.stdinOnce", "Container.tty")
def test_stdin_and_terminal_are_there_when_they_are_asked_for(daemon: Daemon, namespace: str) -> None:
    _apply(
        daemon, namespace, "p",
        _container("reader", "read line; echo got $line; cat; echo end", stdin=True, stdinOnce=True),
        {**_container("words", "tty; stty size; echo $0 $1"), "args": ["zero", "one"], "tty": True, "stdin": True},
        restartPolicy="Never",
    )  # fmt: skip
    wait_until(lambda: "running" in container_status(daemon, namespace, "p", "reader").get("state", {}), what="reader")
    command = [kubectl_binary(), "attach", "-i", "-n", namespace, "p", "-c", "reader"]
    attached = subprocess.run(
        command, input="hello\nmore\n", env=daemon.environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert "got hello\nmore\n" in attached.stdout
    _wait_phase(daemon, namespace, "p", "Succeeded")
    assert daemon.kubectl("logs", "-n", namespace, "p", "-c", "reader").stdout == "got hello\nmore\nend\n"
    lines = daemon.kubectl("logs", "-n", namespace, "p", "-c", "words").stdout.splitlines()
    assert (lines[0].startswith("/dev/"), lines[-1]) == (True, "zero one")
