"""Ephemeral containers, as ``kubectl debug`` makes them."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import termios
import time

from harness.covers import covers
from harness.daemon import Daemon, kubectl_binary, wait_until
from harness.pods import build_pod


def _statuses(daemon: Daemon, namespace: str) -> dict[str, dict[str, object]]:
    entries = daemon.pod("p", namespace)["status"].get("ephemeralContainerStatuses", ())
    return {entry["name"]: entry for entry in entries}


def _start(daemon: Daemon, namespace: str) -> None:
    script = "exec -a the-app sleep infinity"
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=build_pod("p", "debian", "bash", "-c", script))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=30s")


def _read_until(fd: int, text: bytes, timeout_s: float = 30) -> bytes:
    seen, deadline = b"", time.monotonic() + timeout_s
    while text not in seen:
        left = deadline - time.monotonic()
        assert left > 0, f"{text!r} was not in {seen!r}"
        if select.select([fd], [], [], left)[0]:
            seen += os.read(fd, 4096)
    return seen


@covers(
    "EphemeralContainer.command", "EphemeralContainer.env", "EphemeralContainer.image", "EphemeralContainer.name",
    "EphemeralContainer.stdin", "EphemeralContainer.targetContainerName", "PodSpec.ephemeralContainers",
)  # fmt: skip
@covers(
    "EphemeralContainer.command", "EphemeralContainer.image", "EphemeralContainer.name",
    "EphemeralContainer.targetContainerName", "PodSpec.ephemeralContainers",
)  # fmt: skip
def test_debug_adds_a_container_that_sees_its_target_and_is_never_started_again(daemon: Daemon, namespace: str) -> None:
    _start(daemon, namespace)
    debug = ("debug", "-n", namespace, "p", "--image=debian", "--profile=general")
    look = "tr '\\0' ' ' < /proc/1/cmdline; hostname"
    daemon.kubectl(*debug, "--target=c", "-c", "look", "--", "bash", "-c", look)
    daemon.kubectl(*debug, "-c", "alone", "--", "bash", "-c", look + "; exit 7")

    def both_ended() -> bool:
        found = _statuses(daemon, namespace)
        return len(found) == 2 and all("terminated" in entry["state"] for entry in found.values())  # type: ignore[operator]

    wait_until(both_ended, what="both debuggers to end")
    assert daemon.kubectl("logs", "-n", namespace, "p", "-c", "look").stdout == "the-app infinity p\n"
    assert daemon.kubectl("logs", "-n", namespace, "p", "-c", "alone").stdout.startswith("bash -c ")
    pod = daemon.pod("p", namespace)
    codes = {name: entry["state"]["terminated"]["exitCode"] for name, entry in _statuses(daemon, namespace).items()}  # type: ignore[index]
    assert codes == {"look": 0, "alone": 7}
    assert all(
        entry["restartCount"] == 0 and not entry["ready"] for entry in pod["status"]["ephemeralContainerStatuses"]
    )
    assert pod["status"]["phase"] == "Running"
    assert pod["metadata"]["generation"] == 3

    path = f"/api/v1/namespaces/{namespace}/pods/p/ephemeralcontainers"
    patch = [{"op": "replace", "path": "/spec/ephemeralContainers/0/image", "value": "other"}]
    refused = daemon.kubectl(
        "patch", "-n", namespace, "pod", "p", "--subresource=ephemeralcontainers", "--type=json",
        "-p", json.dumps(patch), check=False,
    )  # fmt: skip
    assert 'Forbidden: existing ephemeral containers "look" may not be changed' in refused.stderr
    document = daemon.get(path)
    document["spec"]["ephemeralContainers"].append({"name": "lost", "image": "debian", "targetContainerName": "no"})
    answer = daemon.kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(document), check=False)
    assert 'spec.ephemeralContainers[2].targetContainerName: Not found: "no"' in answer.stderr


def test_debug_talks_to_its_container_over_a_terminal(daemon: Daemon, namespace: str) -> None:
    _start(daemon, namespace)
    command = [kubectl_binary(), "debug", "-it", "-n", namespace, "p", "--image=debian", "--target=c", "--", "bash"]
    main_fd, side_fd = pty.openpty()
    termios.tcsetwinsize(side_fd, (24, 80))
    kubectl = subprocess.Popen(command, env=daemon.environment(), stdin=side_fd, stdout=side_fd, stderr=side_fd)
    os.close(side_fd)
    try:
        _read_until(main_fd, b"try pressing enter")
        os.write(main_fd, b"\n")  # The prompt may have been written before anybody was attached.
        _read_until(main_fd, b"# ")
        os.write(main_fd, b"kill -0 1 && echo see$((40 + 2))\n")
        _read_until(main_fd, b"see42")
        os.write(main_fd, b"exit 0\n")
        assert kubectl.wait(30) == 0
    finally:
        kubectl.kill()
        kubectl.wait()
        os.close(main_fd)
    (entry,) = _statuses(daemon, namespace).values()
    wait_until(lambda: "terminated" in _statuses(daemon, namespace)[str(entry["name"])]["state"], what="its end")  # type: ignore[operator]


@covers(
    "EphemeralContainer.args", "EphemeralContainer.envFrom", "EphemeralContainer.imagePullPolicy",
    "EphemeralContainer.securityContext", "EphemeralContainer.stdinOnce",
    "EphemeralContainer.terminationMessagePath", "EphemeralContainer.terminationMessagePolicy",
    "EphemeralContainer.tty", "EphemeralContainer.volumeMounts", "EphemeralContainer.workingDir",
)  # fmt: skip
@covers(
    "EphemeralContainer.args", "EphemeralContainer.env", "EphemeralContainer.envFrom",
    "EphemeralContainer.imagePullPolicy", "EphemeralContainer.securityContext", "EphemeralContainer.stdin",
    "EphemeralContainer.stdinOnce", "EphemeralContainer.terminationMessagePath",
    "EphemeralContainer.terminationMessagePolicy", "EphemeralContainer.tty", "EphemeralContainer.volumeMounts",
    "EphemeralContainer.workingDir",
)  # fmt: skip
def test_an_ephemeral_container_has_what_its_spec_says(daemon: Daemon, namespace: str) -> None:
    manifest = build_pod("p", "debian", "sleep", "infinity", volumes=[{"name": "d", "emptyDir": {}}])
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=30s")
    daemon.kubectl("create", "-n", namespace, "configmap", "cm", "--from-literal=COLOUR=blue")
    script = "read line; echo $line $COLOUR $SIZE $0; pwd; id -u; test -t 1 && echo tty; echo last > /tmp/words"
    words = {"terminationMessagePath": "/tmp/words", "terminationMessagePolicy": "FallbackToLogsOnError"}
    container = {
        "name": "full", "image": "debian", "imagePullPolicy": "IfNotPresent", "command": ["bash", "-c", script],
        "args": ["zero"], "env": [{"name": "SIZE", "value": "xl"}], "envFrom": [{"configMapRef": {"name": "cm"}}],
        "workingDir": "/d", "volumeMounts": [{"name": "d", "mountPath": "/d"}], "securityContext": {"runAsUser": 7},
        "stdin": True, "stdinOnce": True, "tty": True, **words,
    }  # fmt: skip
    patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
    daemon.kubectl("patch", "-n", namespace, "pod", "p", "--subresource=ephemeralcontainers", "-p", patch)

    def state() -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = _statuses(daemon, namespace).get("full", {}).get("state", {})  # type: ignore[assignment]
        return found

    wait_until(lambda: "running" in state(), what="it to run")
    main_fd, side_fd = pty.openpty()
    command = [kubectl_binary(), "attach", "-it", "-n", namespace, "p", "-c", "full"]
    kubectl = subprocess.Popen(command, env=daemon.environment(), stdin=side_fd, stdout=side_fd, stderr=side_fd)
    os.close(side_fd)
    try:
        _read_until(main_fd, b"try pressing enter")
        os.write(main_fd, b"hello\n")
        wait_until(lambda: "terminated" in state(), what="its end")
    finally:
        kubectl.kill()
        kubectl.wait()
        os.close(main_fd)
    lines = daemon.kubectl("logs", "-n", namespace, "p", "-c", "full").stdout.replace("\r", "").splitlines()
    assert lines[-4:] == ["hello blue xl zero", "/d", "7", "tty"]
    assert state()["terminated"]["message"] == "last\n"
