"""The command ``podhost`` against a real daemon: what a person sees, and what scripts get as exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from harness.daemon import Daemon
from harness.terminal import podhost_on_terminal
from podhost.cli.recreate import build_recreated_pod

EXAMPLES = Path(__file__).parents[2] / "examples"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {policy}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}
    command: ["/bin/sh", "-c", "{script}"]
"""


def manifest(name: str, script: str, *, policy: str = "Always", image: str = "debian") -> str:
    return POD.format(name=name, script=script, policy=policy, image=image)


def test_up_follows_a_pod_to_its_end_and_returns_its_exit_code(daemon: Daemon, namespace: str) -> None:
    text = manifest("job", "echo working; exit 5", policy="Never")
    done = daemon.podhost("-n", namespace, "up", "--rm", "-", stdin=text, check=False)
    assert done.returncode == 5
    assert done.stdout == "[job/main] working\n"
    assert "pod/job failed: container main ended with exit code 5 (Error)" in done.stderr
    assert "pod/job deleted" in done.stderr


def test_merged_logs_are_in_the_order_of_time(daemon: Daemon, namespace: str) -> None:
    done = daemon.podhost("-n", namespace, "up", str(EXAMPLES / "mc2"))
    lines = done.stdout.splitlines()
    assert len(lines) == 22
    assert {line.split("]")[0] for line in lines} == {"[mc2/producer", "[mc2/consumer"}
    logs = daemon.podhost("-n", namespace, "logs", "mc2", "--timestamps").stdout.splitlines()
    stamps = [line.split(" ")[1] for line in logs]
    assert len(logs) == 22
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (manifest("crash", "echo last words; exit 3"), ("CrashLoopBackOff", "exit code 3", "| last words")),
        (manifest("noimage", "true", image="127.0.0.1:9/none"), ("container main", "down pod/noimage")),
        (manifest("nocommand", "x").replace("/bin/sh", "/no/such"), ("/no/such", "no such file or directory")),
    ],
    ids=["crash", "image", "command"],
)
def test_up_says_why_a_pod_cannot_become_ready(
    daemon: Daemon, namespace: str, text: str, words: tuple[str, ...]
) -> None:
    done = daemon.podhost("-n", namespace, "up", "-d", "-", stdin=text, check=False)
    assert done.returncode == 1
    assert "cannot become ready" in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_up_refuses_a_misspelt_field_with_its_place(daemon: Daemon, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(manifest("typo", "true").replace("command:", "comand:"))
    done = daemon.podhost("-n", namespace, "up", str(path), check=False)
    assert done.returncode == 1
    assert f"{path}:11:5: error:" in done.stderr
    assert "unknown field `comand` in `spec.containers[0]`" in done.stderr
    assert "`comand`: did you mean `command`?" in done.stderr


def test_up_again_changes_nothing_and_down_leaves_nothing(daemon: Daemon, namespace: str) -> None:
    folder = str(EXAMPLES / "mc3")
    daemon.podhost("-n", namespace, "up", "-d", folder)
    again = daemon.podhost("-n", namespace, "up", "-d", folder)
    assert "pod/mc3 unchanged" in again.stderr
    assert "configmap/mc3-nginx-conf unchanged" in again.stderr
    assert "mc3" in daemon.podhost("-n", namespace, "ps").stdout
    daemon.podhost("-n", namespace, "down", "--now", folder)
    assert daemon.podhost("-n", namespace, "ps").stdout == ""


def test_interrupted_up_leaves_the_pod_and_says_so(daemon: Daemon, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(manifest("stays", "echo started; exec sleep 1000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "podhost.cli.main", "-n", namespace, "up", str(path)],
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "[stays/main] started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stays goes on running" in err
    assert "stays" in daemon.podhost("-n", namespace, "ps").stdout
    daemon.podhost("-n", namespace, "down", "stays")


def test_up_on_a_terminal_draws_over_its_table_and_ctrl_c_leaves_the_pod(
    daemon: Daemon, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(manifest("drawn", "echo it works; exec sleep 1000"))
    with podhost_on_terminal(daemon.environment(), "-n", namespace, "up", str(path), columns=60) as terminal:
        terminal.read_until(r"✓ pod/drawn  ready after [\d.]+ s\n  ● main  ready\n(.*\n)*\[drawn/main\] it works")
        assert "\x1b[36m[drawn/main]\x1b[0m it works" in terminal.raw
        terminal.press("\x03")
        terminal.read_until("drawn goes on running")
        assert terminal.wait() == 0
    assert "drawn" in daemon.podhost("-n", namespace, "ps").stdout


def test_up_on_a_terminal_keeps_the_table_above_the_reason_of_a_failure(
    daemon: Daemon, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(manifest("crash", "echo last words; exit 3"))
    environment = {**daemon.environment(), "NO_COLOR": "1"}
    with podhost_on_terminal(environment, "-n", namespace, "up", "-d", "--rm", str(path)) as terminal:
        assert terminal.wait(60) == 1
    end = terminal.text[terminal.text.rindex("pod/crash  CrashLoopBackOff") :].splitlines()
    assert end[1] == "  ✗ main  CrashLoopBackOff: exit code 3"
    assert "cannot become ready: CrashLoopBackOff: container main: it ends again and again" in end[2] + end[3]
    assert "    | last words" in end
    assert "\x1b[3" not in terminal.raw
    assert daemon.podhost("-n", namespace, "ps").stdout == ""


TALKS = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: talk}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: a, image: debian, command: [sh, -c, "echo out-{name}; echo err-{name} >&2; exec sleep 1000"]}}
  - {{name: b, image: debian, command: [sh, -c, "echo quiet; exec sleep 1000"]}}
"""


def test_pods_are_chosen_shown_and_described(daemon: Daemon, namespace: str) -> None:
    def podhost(*args: str, check: bool = True) -> str:
        done = daemon.podhost("-n", namespace, *args, check=check)
        return done.stdout + done.stderr

    text = "---".join(TALKS.format(name=name) for name in ("one", "two"))
    daemon.podhost("-n", namespace, "up", "-d", "-", stdin=text)

    assert podhost("ps", "-l", "app=talk", "-o", "name") == "pod/one\npod/two\n"
    assert json.loads(podhost("ps", "one", "-o", "json"))["kind"] == "Pod"
    assert "app=talk" in podhost("ps", "two", "-o", "wide", "--show-labels")
    assert "cannot find the pod 'three'" in podhost("ps", "three", check=False)

    assert sorted(podhost("logs", "-l", "app=talk", "--stream", "stderr").splitlines()) == [
        "[one/a] err-one",
        "[two/a] err-two",
    ]
    assert podhost("logs", "one", "-c", "a", "--stream", "stdout", "--tail", "5") == "out-one\n"
    assert "it has: a, b" in podhost("logs", "one", "-c", "z", check=False)
    assert "cannot find a pod with the labels 'app=none'" in podhost("logs", "-l", "app=none", check=False)

    described = podhost("describe", "one")
    assert described.startswith("pod/one  ready\n")
    assert "Container started" in described
    assert "Reason" not in described
    assert "data:" in podhost("describe", "configmap/kube-root-ca.crt", "-o", "yaml")
    assert "pod/one" not in podhost("events", "two")
    assert {item["reason"] for item in json.loads(podhost("events", "pod/two", "-o", "json"))["items"]} >= {"Started"}


def test_restart_makes_the_pod_anew_or_leaves_it_alone(daemon: Daemon, namespace: str) -> None:
    daemon.podhost("-n", namespace, "up", "-d", "-", stdin=TALKS.format(name="again"))
    daemon.kubectl("-n", namespace, "label", "pod", "again", "later=yes")
    before = daemon.pod("again", namespace)
    done = daemon.podhost("-n", namespace, "restart", "again", "--now")
    assert "pod/again ready after" in done.stderr
    after = daemon.pod("again", namespace)
    assert before["metadata"]["uid"] != after["metadata"]["uid"]
    assert after["metadata"]["labels"] == {"app": "talk", "later": "yes"}
    # The volume with the token has another name each time.
    assert build_recreated_pod(after)["spec"] == build_recreated_pod(before)["spec"]
    service = daemon.podhost("-n", namespace, "restart", "again", "configmap/kube-root-ca.crt", check=False)
    assert service.returncode == 1
    assert "cannot restart configmap/kube-root-ca.crt: it runs nothing" in service.stderr
    assert daemon.pod("again", namespace)["metadata"]["uid"] == after["metadata"]["uid"]


def test_followed_logs_bring_pods_of_the_selector_that_come_later(daemon: Daemon, namespace: str) -> None:
    environment = {**daemon.environment(), "NO_COLOR": "1"}
    with (
        podhost_on_terminal(environment, "-n", namespace, "logs", "-f", "-l", "app=talk") as logs,
        podhost_on_terminal(environment, "-n", namespace, "events", "-f") as events,
    ):
        daemon.podhost("-n", namespace, "up", "-d", "-", stdin=TALKS.format(name="first"))
        logs.read_until(r"\[first/a\] out-first\n")
        daemon.podhost("-n", namespace, "up", "-d", "-", stdin=TALKS.format(name="second"))
        logs.read_until(r"\[second/a\] err-second\n")
        events.read_until(r"\d\d:\d\d:\d\d +Normal +Started +pod/second/b +Container started\n")
        logs.press("\x03")
        assert logs.wait() == 130


def test_exec_passes_stdin_output_and_exit_code(daemon: Daemon, namespace: str) -> None:
    daemon.podhost("-n", namespace, "up", "-d", "-", stdin=manifest("shell", "exec sleep 1000"))
    done = daemon.podhost(
        "-n", namespace, "exec", "-i", "shell", "--", "sh", "-c", "cat; echo bad >&2; exit 7", stdin="in\n", check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "bad\n")


def read_until(fd: int, wanted: bytes, timeout_s: float = 10) -> bytes:
    seen = b""
    deadline = time.monotonic() + timeout_s
    while wanted not in seen:
        left = deadline - time.monotonic()
        assert left > 0, f"{wanted!r} did not come: {seen!r}"
        if select.select([fd], [], [], left)[0]:
            seen += os.read(fd, 4096)
    return seen


def test_exec_with_a_terminal_follows_its_size(daemon: Daemon, namespace: str) -> None:
    daemon.podhost("-n", namespace, "up", "-d", "-", stdin=manifest("terminal", "exec sleep 1000"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    command = [sys.executable, "-m", "podhost.cli.main", "-n", namespace, "exec", "-it", "terminal", "--", "sh"]
    process = subprocess.Popen(command, env=daemon.environment(), stdin=slave, stdout=slave, stderr=slave)
    try:
        os.write(master, b"PS1='ready\\\\> '; stty size\n")
        read_until(master, b"33 99")
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
        process.send_signal(signal.SIGWINCH)
        # The size travels beside the keys; the shell is asked until it has arrived.
        os.write(master, b"until [ \"$(stty size)\" = '20 50' ]; do sleep 0.05; done; echo re''sized; exit 9\n")
        read_until(master, b"resized")
        assert process.wait(10) == 9
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_images_can_be_listed_tagged_inspected_and_removed(daemon: Daemon) -> None:
    assert "training/webapp" in daemon.podhost("image", "ls").stdout
    daemon.podhost("image", "tag", "debian", "localhost/mine:1")
    assert "localhost/mine:1" in daemon.podhost("image", "inspect", "localhost/mine:1").stdout
    daemon.podhost("image", "rm", "localhost/mine:1")
    gone = daemon.podhost("image", "inspect", "localhost/mine:1", check=False)
    assert gone.returncode == 1
    assert "cannot find the image 'localhost/mine:1' on this machine" in gone.stderr


def test_same_command_works_through_a_kubeconfig(daemon: Daemon, namespace: str) -> None:
    path = daemon.podhost("kubeconfig").stdout.strip()
    assert Path(path).stat().st_mode & 0o777 == 0o600
    daemon.podhost("-n", namespace, "up", "-d", "-", stdin=manifest("remote", "exec sleep 1000"))
    assert "remote" in daemon.podhost("--kubeconfig", path, "-n", namespace, "ps").stdout
    done = daemon.podhost("--kubeconfig", path, "-n", namespace, "exec", "remote", "--", "hostname")
    assert done.stdout == "remote\n"


def test_stop_refuses_while_there_are_pods(daemon: Daemon, namespace: str) -> None:
    daemon.podhost("-n", namespace, "up", "-d", "-", stdin=manifest("busy", "exec sleep 1000"))
    done = daemon.podhost("stop", check=False)
    assert done.returncode == 1
    assert "podhost stop --force" in done.stderr
    assert "busy" in daemon.podhost("-n", namespace, "ps").stdout
