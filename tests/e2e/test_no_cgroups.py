"""A host that gives podhost no cgroups at all: pods run, without limits, and all else is as ever."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import build_pod, container_status, find_events, wait_for_event

_SURROUNDINGS = {
    "read-only": "for d in $(grep -o ' /sys/fs/cgroup[^ ]*' /proc/self/mounts | grep -v unified); "
    "do mount -o remount,bind,ro $d; done",
    "not mounted": "umount --recursive /sys/fs/cgroup",
}


@pytest.fixture(scope="module", params=list(_SURROUNDINGS))
def daemon(request: pytest.FixtureRequest, image_store: Path) -> Iterator[Daemon]:
    script = f"{_SURROUNDINGS[request.param]} && echo ready && exec cat"
    command = ("unshare", "--mount", "sh", "-c", script)
    # One machine for all daemons: what the first has mounted is there for the next.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine:
        assert machine.stdout is not None
        assert machine.stdout.readline() == b"ready\n"
        with running_daemon(image_store, wrapper=("nsenter", f"--mount=/proc/{machine.pid}/ns/mnt")) as running:
            yield running
        assert machine.stdin is not None
        machine.stdin.close()


def create(daemon: Daemon, namespace: str, name: str, script: str, **spec: Any) -> None:
    daemon.kubectl("-n", namespace, "create", "-f", "-", stdin=build_pod(name, "debian", "bash", "-c", script, **spec))


def find_processes(mark: str) -> list[str]:
    """Command lines on this machine that have the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line.split() and "pytest" not in line:
            found.append(line)
    return found


def test_pods_run_without_limits_and_it_is_said(daemon: Daemon, namespace: str) -> None:
    mark = str(1_000_000 + os.getpid())
    sizes = {"cpu": "100m", "memory": "64Mi"}
    command = ["bash", "-c", f"setsid sleep {mark}.5 & sleep {mark}.5 & wait"]
    probe = {"exec": {"command": command}, "timeoutSeconds": 1, "failureThreshold": 1, "periodSeconds": 1000}
    create(daemon, namespace, "own", "trap 'exit 7' TERM; sleep 1000 & wait", restartPolicy="Never")
    document = json.loads(build_pod("limited", "debian", "sleep", "1000", terminationGracePeriodSeconds=1))
    document["spec"]["containers"][0] |= {"resources": {"limits": sizes}, "readinessProbe": probe}
    daemon.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(document))
    # Their children leave them, and are in namespaces that others are in, too.
    stray = f"setsid sleep {mark} & setsid bash -c 'cd /; sleep {mark}; :' & sleep {mark}"
    for name, spec in {"shared": {"shareProcessNamespace": True}, "host": {"hostPID": True}}.items():
        create(daemon, namespace, name, stray, terminationGracePeriodSeconds=1, **spec)
    wait = ("wait", "--for=condition=Ready", "pod/own", "pod/shared", "pod/host", "--timeout=60s")
    daemon.kubectl("-n", namespace, *wait)

    said = {message for _, reason, message in find_events(daemon, namespace, "limited") if reason == "FieldNotHonoured"}
    assert said == {
        f"spec.containers[0].resources.limits.{name}: not enforced: "
        f"this host does not delegate the cgroup controller {name}"
        for name in sizes
    }
    assert "containers run without limits of cpu, memory, pids" in daemon.log_path.read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/podhost/{daemon.instance}"))

    # What is used is the sum over the processes.
    usage = daemon.kubectl("-n", namespace, "top", "pod", "own", "--no-headers").stdout.split()
    assert usage[0] == "own"
    assert usage[2].endswith("Mi")
    assert int(usage[2][:-2]) >= 1

    # A command that takes too long ends, and what it started with it.
    assert "timed out" in wait_for_event(daemon, namespace, "limited", "Unhealthy")
    wait_until(lambda: not find_processes(f"{mark}.5") or None, what="the end of the probe's command")
    done = daemon.kubectl("-n", namespace, "exec", "own", "--", "bash", "-c", "echo here; exit 3", check=False)
    assert (done.stdout, done.returncode) == ("here\n", 3)

    # Who was started before the daemon's death is known after it.
    before = container_status(daemon, namespace, "shared")["containerID"]
    daemon.kill()
    daemon.start()
    daemon.kubectl("-n", namespace, "exec", "shared", "--", "true")
    assert container_status(daemon, namespace, "shared")["containerID"] == before
    wait_until(lambda: len(find_processes(mark)) >= 6, what="all processes of two pods")
    daemon.kubectl("-n", namespace, "delete", "pod", "--all", "--timeout=60s")
    assert find_processes(mark) == []


def test_devices_are_out_of_reach_though_no_cgroup_denies_them(daemon: Daemon, namespace: str) -> None:
    """What a node's device rules forbid: to make a node, to have one in a volume or in the image."""
    volumes = [{"name": "dev", "hostPath": {"path": "/dev"}}, {"name": "v", "emptyDir": {}}]
    mounts = [{"name": "dev", "mountPath": "/host-dev"}, {"name": "v", "mountPath": "/v"}]
    document = json.loads(build_pod("opener", "debian", "sleep", "1000", volumes=volumes))
    first = document["spec"]["containers"][0]
    first["volumeMounts"] = mounts
    context = {"readOnlyRootFilesystem": True, "capabilities": {"add": ["MKNOD"]}}
    document["spec"]["containers"].append({**first, "name": "read-only", "securityContext": context})
    daemon.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(document))
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/opener", "--timeout=60s")

    def attempt(container: str, script: str) -> str:
        words = ("-n", namespace, "exec", "opener", "-c", container, "--", "bash", "-c", script)
        done = daemon.kubectl(*words, check=False)
        return done.stdout + done.stderr

    for name in ("c", "read-only"):
        assert "Operation not permitted" in attempt(name, "mknod /v/null c 1 3")
        assert "Permission denied" in attempt(name, "head -c1 /host-dev/kmsg")
        root = attempt(name, "grep ' / / ' /proc/self/mountinfo")
        assert "nodev" in root.split()[5].split(","), root
        assert attempt(name, "head -c1 /dev/zero | wc -c; echo x > /dev/null").strip() == "1"
