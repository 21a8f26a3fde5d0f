"""hostPaths: what the host mounts in them, what containers mount in them, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.covers import covers
from harness.daemon import Daemon, wait_until


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that the host has mounted after the daemon started, shared as systemd mounts all of them."""
    tmp_path.chmod(0o755)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "disk", str(disk))
    mount("--make-shared", str(disk))
    yield disk
    subprocess.run(["umount", "-R", str(disk)], check=True)


def points(place: str) -> list[str]:
    """Mount points of the host below a directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(line.split()[4] for line in lines if line.split()[4].startswith(place))


def build_pod(path: Path, containers: list[dict[str, Any]], **source: Any) -> str:
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": containers,
        "volumes": [{"name": "d", "hostPath": {"path": str(path), **source}}],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})


def container(name: str, propagation: str, script: str = "", **mount: Any) -> dict[str, Any]:
    run = f"{script}\ntrap 'umount /d/inner; exit' TERM; sleep infinity & wait"
    return {
        "name": name,
        "image": "debian",
        "command": ["bash", "-c", run],
        "securityContext": {"privileged": propagation == "Bidirectional"},
        "volumeMounts": [{"name": "d", "mountPath": "/d", "mountPropagation": propagation, **mount}],
    }


def run(daemon: Daemon, namespace: str, name: str, script: str) -> str:
    return daemon.kubectl("exec", "-n", namespace, "p", "-c", name, "--", "bash", "-c", script).stdout


def messages(daemon: Daemon, namespace: str, reason: str) -> list[str]:
    items = daemon.get(f"/api/v1/namespaces/{namespace}/events")["items"]
    return [event["message"] for event in items if event["reason"] == reason]


@covers("VolumeMount.mountPropagation")
def test_mounts_go_to_the_host_and_come_from_it(daemon: Daemon, namespace: str, disk: Path) -> None:
    for name in ("inner", "outer"):
        (disk / "data" / name).mkdir(parents=True)
    (disk / "data/link").symlink_to(disk / "data/outer")
    before = points(str(daemon.root))
    containers = [
        container("maker", "Bidirectional", "mount -t tmpfs made /d/inner && touch /d/inner/file"),
        container("part", "HostToContainer", subPath="link"),
        container("sees", "HostToContainer"),
        container("blind", "None"),
    ]
    pod = build_pod(disk / "data", containers, type="Directory")
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=pod)
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=40s")
    wait_until((disk / "data/inner/file").exists, what="the container's mount on the host")
    assert run(daemon, namespace, "sees", "ls /d/inner") == "file\n"
    mount("-t", "tmpfs", "later", str(disk / "data/outer"))
    (disk / "data/outer/late").touch()
    shown = {name: run(daemon, namespace, name, "ls -d /d/outer/* /d/late 2>/dev/null || true") for name in
             ("maker", "sees", "part", "blind")}  # fmt: skip
    assert shown == {"maker": "/d/outer/late\n", "sees": "/d/outer/late\n", "part": "/d/late\n", "blind": ""}

    # A daemon that dies takes no mount along, and leaves none.
    daemon.kill()
    daemon.start()
    made = [str(disk), str(disk / "data/inner"), str(disk / "data/outer")]
    assert (points(str(disk)), points(str(daemon.root))) == (made, before)
    daemon.kubectl("delete", "-n", namespace, "pod", "p", "--timeout=30s")
    del made[1]  # The container unmounted its own; the host's stays.
    assert (points(str(disk)), points(str(daemon.root))) == (made, before)
    assert (disk / "data/outer/late").exists()


def test_a_place_that_is_not_shared_cannot_propagate(daemon: Daemon, namespace: str, disk: Path) -> None:
    mount("--make-private", str(disk))
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=build_pod(disk, [container("c", "Bidirectional")]))

    def waiting() -> dict[str, str]:
        statuses = daemon.pod("p", namespace)["status"].get("containerStatuses") or [{"state": {}}]
        found: dict[str, str] = statuses[0]["state"].get("waiting") or {}
        return found

    wait_until(lambda: waiting().get("reason") == "CreateContainerError", what="the refusal")
    text = f'spec: failed to generate spec: path "{disk}" is mounted on "{disk}" but it is not a shared mount'
    assert waiting()["message"].endswith(text)
    assert messages(daemon, namespace, "Failed")[0].startswith('Error: failed to generate container "')
    # Mended by hand, it starts.
    mount("--make-shared", str(disk))
    daemon.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/p", "--timeout=60s")


@covers("HostPathVolumeSource.type")
def test_each_type_takes_what_it_says_and_names_what_it_found(daemon: Daemon, namespace: str, disk: Path) -> None:
    (disk / "file").write_text("text")
    subprocess.run(["mkfifo", str(disk / "fifo")], check=True)
    wanted = {
        "Directory": (disk / "file", f"hostPath type check failed: {disk}/file is not a directory, it's a File"),
        "File": (disk, f"hostPath type check failed: {disk} is not a file, it's a Directory"),
        "Socket": (disk / "none", f"hostPath {disk}/none doesn't exist"),
        "CharDevice": (disk / "fifo", f"hostPath type check failed, {disk}/fifo is not a character device, unable to "
                       "determine its type: only recognise file, directory, socket, block device and character device"),
        "BlockDevice": (Path("/dev/null"),
                        "hostPath type check failed: /dev/null is not a block device, it's a CharDevice"),
        "DirectoryOrCreate": (disk / "file/x", f"{disk}/file/x: not a directory"),
        "FileOrCreate": (disk / "none/x", f"{disk}/none/x: no such file or directory"),
    }  # fmt: skip
    volumes = [
        {"name": type_.lower(), "hostPath": {"path": str(path), "type": type_}} for type_, (path, _) in wanted.items()
    ]
    spec = {"containers": [{"name": "c", "image": "debian"}], "volumes": volumes}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    daemon.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    wait_until(lambda: len(set(messages(daemon, namespace, "FailedMount"))) >= len(wanted), what="the refusals")
    expected = {
        f'MountVolume.SetUp failed for volume "{type_.lower()}" : {text}' for type_, (_, text) in wanted.items()
    }
    assert set(messages(daemon, namespace, "FailedMount")) == expected
