"""A machine that starts again: its processes, namespaces and run directory are gone, its disk is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import container_status, find_events

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""
OTHER_BOOT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def own(image_store: Path) -> Iterator[Daemon]:
    with running_daemon(image_store) as daemon:
        yield daemon


def _members(instance: str) -> list[int]:
    """Processes of the instance's containers and their monitors."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"/podhost/{instance}/" in (entry / "cgroup").read_text():
                found.append(int(entry.name))
    return found


def reboot(daemon: Daemon) -> None:
    """What a reboot leaves: files on disk that speak of another boot."""
    daemon.kill()
    while members := _members(daemon.instance):
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted((m for m in mounts if m.startswith(str(daemon.run_root))), reverse=True):
        subprocess.run(["umount", "-l", place], check=True)
    shutil.rmtree(daemon.run_root)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for path in (daemon.data_root / daemon.instance / "runtime").rglob("*.json"):
        path.write_text(path.read_text().replace(boot, OTHER_BOOT))


def _apply(daemon: Daemon, name: str, script: str, **spec: Any) -> None:
    mounts = [{"name": "d", "mountPath": "/d"}]
    container = {"name": "c", "image": "debian", "command": ["bash", "-c", script], "volumeMounts": mounts}
    spec = {"terminationGracePeriodSeconds": 1, "volumes": [{"name": "d", "emptyDir": {}}], "containers": [container],
            **spec}  # fmt: skip
    daemon.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))


def _phase(daemon: Daemon, name: str) -> str:
    phase: str = daemon.pod(name)["status"]["phase"]
    return phase


def test_pods_start_again_as_their_restart_policies_say(own: Daemon) -> None:
    script = "echo run >> /d/runs; exec sleep infinity"
    _apply(own, "always", script, initContainers=[
        {"name": "i", "image": "debian", "command": ["bash", "-c", "echo init >> /d/runs"],
         "volumeMounts": [{"name": "d", "mountPath": "/d"}]}])  # fmt: skip
    own.apply(CLAIM)
    claimed = [{"name": "d", "persistentVolumeClaim": {"claimName": "kept"}}]
    _apply(own, "on-failure", script, restartPolicy="OnFailure", volumes=claimed)
    _apply(own, "never", script, restartPolicy="Never")
    _apply(own, "done", "echo run >> /d/runs", restartPolicy="OnFailure")
    own.kubectl("wait", "--for=condition=Ready", "pod/always", "pod/on-failure", "pod/never", "--timeout=30s")
    own.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/done", "--timeout=30s")
    before = {name: own.pod(name) for name in ("always", "on-failure", "never", "done")}

    reboot(own)
    own.start()

    def back(name: str) -> bool:
        entry = container_status(own, "default", name)
        return entry.get("restartCount") == 1 and "running" in entry["state"]

    for name in ("always", "on-failure"):
        wait_until(lambda name=name: back(name), what=f"{name} to run again")
    wait_until(lambda: _phase(own, "never") == "Failed", what="the end of what never restarts")
    assert _phase(own, "done") == "Succeeded"
    assert container_status(own, "default", "done")["restartCount"] == 0
    entry = container_status(own, "default", "always")
    ended = entry["lastState"]["terminated"]
    old = before["always"]["status"]["containerStatuses"][0]
    assert (ended["containerID"], ended["reason"], ended["exitCode"]) == (old["containerID"], "Unknown", 255)
    assert entry["containerID"] != old["containerID"]
    # The pod is the same, with its volume; its sandbox is another, and the init containers have run in it.
    assert own.pod("always")["metadata"]["uid"] == before["always"]["metadata"]["uid"]
    assert own.kubectl("exec", "always", "--", "cat", "/d/runs").stdout == "init\nrun\ninit\nrun\n"
    assert own.kubectl("exec", "on-failure", "--", "cat", "/d/runs").stdout == "run\nrun\n", "a claim keeps its data"
    assert own.kubectl("get", "pvc", "kept", "-o", "jsonpath={.status.phase}").stdout == "Bound"
    assert "SandboxChanged" in [reason for _, reason, _ in find_events(own, "default", "always")]
    assert len(own.container_pids()) == 2
