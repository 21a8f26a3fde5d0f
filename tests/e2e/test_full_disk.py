"""A full disk: what fails says why, the API goes on, nothing half-made stays, and freed space is enough to recover.

Data root and image store are small file systems of their own.  Running out of inodes shows a disk on which the
store can still write a line, but no pod can be made; running out of bytes shows one on which nothing can.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.daemon import Daemon, running_daemon, wait_until
from harness.pods import (
    PAUSE_CONFIG,
    build_pause_layer,
    build_pod,
    find_events,
    list_unfinished,
    wait_for_event,
    wait_for_waiting,
)
from registry import Registry, make_tar
from registry import registry as registry

_DISK = "64m"
_INODES = 3000
_BIG = 6 << 20


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "podhost-test", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def fill_bytes(disk: Path) -> Path:
    """A file that takes the last page."""
    ballast = disk / f"ballast-{uuid.uuid4().hex[:6]}"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    return ballast


@contextmanager
def no_inodes(disk: Path) -> Iterator[None]:
    directory = disk / "inodes"
    directory.mkdir()
    made: list[Path] = []
    try:
        while True:
            path = directory / str(len(made))
            path.touch()
            made.append(path)
    except OSError:
        pass
    try:
        yield
    finally:
        for path in made:
            path.unlink()
        directory.rmdir()


@pytest.fixture(scope="module")
def store_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disks") / "images", f"size={_DISK}") as path:
        yield path


@pytest.fixture(scope="module")
def daemon(store_disk: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Its image store is on one small disk, its data on another."""
    registry.push_image("test/pause", "1", [build_pause_layer()], config=PAUSE_CONFIG)
    with (
        small_disk(tmp_path_factory.mktemp("data") / "disk", f"size={_DISK},nr_inodes={_INODES}") as disk,
        running_daemon(store_disk / "store", "--data-root", str(disk)) as running,
    ):
        running.podhost("image", "pull", f"{registry.host}/test/pause:1")
        yield running


@pytest.fixture
def data_disk(daemon: Daemon) -> Path:
    return Path(daemon.extra_flags[1])


@pytest.fixture
def pause(registry: Registry) -> str:
    return f"{registry.host}/test/pause:1"


def create_pod(daemon: Daemon, namespace: str, manifest: str) -> None:
    daemon.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)


def wait_ready(daemon: Daemon, namespace: str, name: str) -> None:
    daemon.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=40s")


def push_big(registry: Registry) -> str:
    repository = f"test/{uuid.uuid4().hex[:8]}"
    layers = [build_pause_layer(), make_tar(("big", os.urandom(_BIG)))]
    registry.push_image(repository, "1", layers, config=PAUSE_CONFIG)
    return f"{registry.host}/{repository}:1"


def test_a_pull_onto_a_full_disk_says_so_and_the_retry_succeeds(
    daemon: Daemon, namespace: str, store_disk: Path, registry: Registry, pause: str
) -> None:
    image = push_big(registry)
    create_pod(daemon, namespace, build_pod("other", pause))
    wait_ready(daemon, namespace, "other")
    ballast = fill_bytes(store_disk)
    create_pod(daemon, namespace, build_pod("p", image))
    message = wait_for_event(daemon, namespace, "p", "Failed", "Failed to pull image")
    assert "no space left on device" in message
    assert "no space left on device" in wait_for_waiting(daemon, namespace, "p", "ImagePullBackOff")
    assert not list_unfinished(store_disk / "store")
    refused = daemon.podhost("image", "pull", image, check=False)
    assert refused.returncode == 1
    assert "no space left on device" in refused.stderr
    ballast.unlink()
    wait_ready(daemon, namespace, "p")
    assert daemon.pod("other", namespace)["status"]["containerStatuses"][0]["restartCount"] == 0
    assert not list_unfinished(store_disk / "store")


def test_a_disk_that_fills_up_while_a_layer_is_unpacked_keeps_nothing_of_it(
    daemon: Daemon, store_disk: Path, registry: Registry
) -> None:
    image = push_big(registry)
    ballast = fill_bytes(store_disk)
    # Room for the compressed blob, not for the unpacked layer as well.
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - _BIG - (2 << 20))
    refused = daemon.podhost("image", "pull", image, check=False)
    assert refused.returncode == 1
    assert "no space left on device" in refused.stderr.lower()
    assert not list_unfinished(store_disk / "store")
    ballast.unlink()
    daemon.podhost("image", "pull", image)


def test_a_load_onto_a_full_disk_says_so(daemon: Daemon, store_disk: Path, registry: Registry, tmp_path: Path) -> None:
    archive = tmp_path / "big.tar"
    command = ["skopeo", "copy", "--quiet", "--src-tls-verify=false"]
    subprocess.run(
        [*command, f"docker://{push_big(registry)}", f"docker-archive:{archive}:example.com/big:1"], check=True
    )
    ballast = fill_bytes(store_disk)
    refused = daemon.podhost("image", "load", str(archive), check=False)
    assert refused.returncode == 1
    assert "no space left on device" in refused.stderr
    assert not list_unfinished(store_disk / "store")
    ballast.unlink()
    daemon.podhost("image", "load", str(archive))


def test_a_pod_that_finds_no_room_says_why_and_starts_when_there_is_some(
    daemon: Daemon, namespace: str, data_disk: Path, pause: str
) -> None:
    create_pod(daemon, namespace, build_pod("before", pause))
    wait_ready(daemon, namespace, "before")
    volumes = {"volumes": [{"name": "v", "emptyDir": {}}]}
    with no_inodes(data_disk):
        create_pod(daemon, namespace, build_pod("plain", pause))
        create_pod(daemon, namespace, build_pod("volume", pause, **volumes))
        create_pod(daemon, namespace, build_pod("deleted", pause))
        for name in ("plain", "volume", "deleted"):
            message = wait_for_event(daemon, namespace, name, "FailedCreatePodSandBox")
            assert message.startswith("Failed to create pod sandbox: ")
            assert message.endswith("no space left on device")
        message = wait_for_event(daemon, namespace, "volume", "FailedMount")
        assert message.startswith('MountVolume.SetUp failed for volume "v" : ')
        assert message.endswith("no space left on device")
        assert "plain" in daemon.kubectl("-n", namespace, "get", "pods").stdout
        daemon.kubectl("-n", namespace, "delete", "pod", "deleted", "--timeout=20s")
    for name in ("plain", "volume"):
        wait_ready(daemon, namespace, name)
    assert daemon.pod("before", namespace)["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "Traceback" not in daemon.log_path.read_text()


def test_with_no_room_for_the_store_reads_go_on_and_writes_say_why(
    daemon: Daemon, namespace: str, data_disk: Path, pause: str
) -> None:
    create_pod(daemon, namespace, build_pod("running", pause))
    create_pod(daemon, namespace, build_pod("exits", pause, restartPolicy="Never"))
    for name in ("running", "exits"):
        wait_ready(daemon, namespace, name)
    pids = daemon.container_pids()
    exits = daemon.pod("exits", namespace)["status"]["containerStatuses"][0]["containerID"].partition("//")[2]
    ballast = fill_bytes(data_disk)

    def is_refused() -> bool:
        # The log of the store has room for a few lines more in its last pages.
        made = daemon.kubectl(
            "-n",
            namespace,
            "create",
            "configmap",
            f"c-{uuid.uuid4().hex[:8]}",
            f"--from-literal=a={'x' * 9000}",
            check=False,
        )
        if made.returncode:
            assert "no space left on the disk" in made.stderr
        return made.returncode != 0

    wait_until(is_refused, what="the store to be full")
    assert "running" in daemon.kubectl("-n", namespace, "get", "pods").stdout
    # An exit that cannot be written down now is not forgotten.
    os.kill(pids[exits], 9)
    wait_until(lambda: exits not in daemon.container_pids(), what="the exit")
    ballast.unlink()
    daemon.kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/exits", "--timeout=30s")
    terminated = daemon.pod("exits", namespace)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert terminated["exitCode"] == 137
    create_pod(daemon, namespace, build_pod("after", pause))
    wait_ready(daemon, namespace, "after")
    assert daemon.pod("running", namespace)["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "Started" in [reason for _, reason, _ in find_events(daemon, namespace, "after")]


def test_a_full_disk_keeps_nobody_from_deleting_nor_a_killed_daemon_from_starting(
    daemon: Daemon, namespace: str, data_disk: Path, pause: str
) -> None:
    for name in ("stays", "goes", "goes-too"):
        create_pod(daemon, namespace, build_pod(name, pause))
        wait_ready(daemon, namespace, name)
    # A new daemon sets room aside where there is plenty.
    daemon.kill()
    daemon.start()
    ballast = fill_bytes(data_disk)
    daemon.kubectl("-n", namespace, "delete", "pod", "goes", "--timeout=40s")
    daemon.kill()
    daemon.start()
    daemon.kubectl("-n", namespace, "delete", "pod", "goes-too", "--timeout=40s")
    assert daemon.pod("stays", namespace)["status"]["containerStatuses"][0]["restartCount"] == 0
    ballast.unlink()
    create_pod(daemon, namespace, build_pod("after", pause))
    wait_ready(daemon, namespace, "after")


def test_a_pod_that_fills_the_disk_and_goes_on_writing_is_evicted_also_by_a_daemon_that_starts_on_the_full_disk(
    image_store: Path, tmp_path: Path
) -> None:
    script = "while :; do dd if=/dev/zero bs=4k of=/e/f oflag=append conv=notrunc 2>/dev/null; done"
    volumes: dict[str, Any] = {"volumes": [{"name": "e", "emptyDir": {}}]}
    document = json.loads(build_pod("hungry", "debian", "sh", "-c", script, **volumes))
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "e", "mountPath": "/e"}]
    never = ("--eviction-hard", "")
    with small_disk(tmp_path / "disk", f"size={_DISK}") as disk:
        flags = ("--data-root", str(disk), "--housekeeping-interval", "0.5")
        with running_daemon(image_store, *flags, *never) as daemon:
            create_pod(daemon, "default", build_pod("sleeper", "debian", "sleep", "inf"))
            wait_ready(daemon, "default", "sleeper")
            create_pod(daemon, "default", json.dumps(document))
            wait_until(lambda: os.statvfs(disk).f_bfree == 0, timeout_s=60, what="the full disk")
            daemon.kill()
            daemon.extra_flags = (*flags, "--eviction-hard", "nodefs.available<10%")
            daemon.start()
            words = ("wait", "pod/hungry", "--for=jsonpath={.status.reason}=Evicted", "--timeout=60s")
            daemon.kubectl(*words)
            assert os.statvfs(disk).f_bfree * 4096 > _BIG
            daemon.kubectl("delete", "pod", "hungry", "--timeout=40s")
            assert daemon.pod("sleeper")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_stop_with_removal_of_pods_ends_while_one_of_them_fills_the_disk(image_store: Path, tmp_path: Path) -> None:
    script = "while :; do dd if=/dev/zero bs=4k of=/e/f oflag=append conv=notrunc 2>/dev/null; done"
    volumes: dict[str, Any] = {"volumes": [{"name": "e", "emptyDir": {}}]}
    document = json.loads(build_pod("hungry", "debian", "sh", "-c", script, **volumes))
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "e", "mountPath": "/e"}]
    with (
        small_disk(tmp_path / "disk", f"size={_DISK}") as disk,
        running_daemon(image_store, "--data-root", str(disk), "--eviction-hard", "") as daemon,
    ):
        create_pod(daemon, "default", json.dumps(document))
        wait_until(lambda: os.statvfs(disk).f_bfree == 0, timeout_s=60, what="the full disk")
        daemon.stop()
