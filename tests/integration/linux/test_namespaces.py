"""Pinned namespaces on the real kernel, as root."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.linux import mount, namespaces
from podhost.linux.namespaces import pin_namespaces, run_in_namespace, unpin_namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "ns"
    unpin_namespaces(tmp_path / "ns")
    mount.unmount_tree(tmp_path)


def read_sysctl(name: str) -> str:
    return Path("/proc/sys", name).read_text().strip()


def test_namespaces_stay_without_a_process(directory: Path) -> None:
    pinned = pin_namespaces(directory, frozenset({"net", "ipc", "uts"}), hostname="inside")
    assert pinned == {kind: directory / kind for kind in ("net", "ipc", "uts")}
    for kind, path in pinned.items():
        assert path.stat().st_ino != Path(f"/proc/self/ns/{kind}").stat().st_ino
    assert run_in_namespace(pinned["uts"], "uts", socket.gethostname) == "inside"
    assert socket.gethostname() != "inside"


def test_only_asked_namespaces_are_made(directory: Path) -> None:
    assert set(pin_namespaces(directory, frozenset({"ipc"}))) == {"ipc"}
    assert os.listdir(directory) == ["ipc"]


def test_sysctls_are_set_inside_only(directory: Path) -> None:
    outside = read_sysctl("net/ipv4/ip_unprivileged_port_start")
    pinned = pin_namespaces(
        directory,
        frozenset({"net", "ipc"}),
        sysctls={"net.ipv4.ip_unprivileged_port_start": "77", "kernel/shm_rmid_forced": "1"},
    )
    name = "net/ipv4/ip_unprivileged_port_start"
    assert run_in_namespace(pinned["net"], "net", lambda: read_sysctl(name)) == "77"
    assert read_sysctl(name) == outside


def test_message_queues_belong_to_the_new_namespace(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "mqueue"
    target.mkdir()
    pin_namespaces(directory, frozenset({"ipc"}), mqueue_target=target)
    (target / "queue").touch()
    assert next(info for info in mount.mounts() if info.mount_point == target).fstype == "mqueue"


@pytest.mark.parametrize(
    ("kinds", "more", "text"),
    [
        ({"pid"}, {}, "cannot pin namespaces"),
        ({"net"}, {"hostname": "x"}, "without a uts namespace"),
        ({"net"}, {"mqueue_target": Path("/x")}, "without an ipc namespace"),
    ],
)
def test_requests_that_would_touch_the_host_are_refused(
    directory: Path, kinds: set[str], more: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        pin_namespaces(directory, frozenset(kinds), **more)  # type: ignore[arg-type]
    assert not directory.exists()


def test_failure_leaves_nothing(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pin_namespaces(directory, frozenset({"net", "uts"}), sysctls={"net.no.such": "1"})
    with pytest.raises(OSError, match="writing 'nope': '/proc/sys/net/ipv4/ip_forward'"):
        pin_namespaces(directory, frozenset({"net"}), sysctls={"net.ipv4.ip_forward": "nope"})
    assert os.listdir(directory) == []
    with pytest.raises(ValueError, match="not a name below"):
        pin_namespaces(directory, frozenset({"net"}), sysctls={"net/../kernel/hostname": "1"})
    with pytest.raises(FileNotFoundError):
        pin_namespaces(directory, frozenset({"ipc"}), mqueue_target=tmp_path / "absent")
    assert os.listdir(directory) == []
    assert [info for info in mount.mounts() if str(info.mount_point).startswith(str(tmp_path))] == []


def test_unpinning_is_idempotent(directory: Path) -> None:
    pin_namespaces(directory, frozenset({"net"}))
    unpin_namespaces(directory)
    unpin_namespaces(directory)
    assert os.listdir(directory) == []


def test_sockets_made_inside_stay_inside_and_the_calling_thread_outside(directory: Path) -> None:
    pinned = pin_namespaces(directory, frozenset({"net"}))
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    sock = run_in_namespace(pinned["net"], "net", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    with sock, pytest.raises(OSError, match="unreachable"):
        # The new namespace's loopback is down.
        sock.connect(("127.0.0.1", 9))
    assert Path("/proc/thread-self/ns/net").stat().st_ino == before


def test_failure_inside_reaches_the_caller_and_the_thread_ends(directory: Path) -> None:
    pinned = pin_namespaces(directory, frozenset({"uts"}))

    def fail() -> None:
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        run_in_namespace(pinned["uts"], "uts", fail)
    with pytest.raises(FileNotFoundError):
        run_in_namespace(directory / "absent", "uts", fail)
    assert "podhost-namespace" not in {thread.name for thread in threading.enumerate()}


def test_mount_namespace_outlives_its_maker_and_can_be_entered_again(tmp_path: Path) -> None:
    pin, inside = tmp_path / "pin" / "mnt", tmp_path / "inside"
    inside.mkdir()
    try:
        namespaces.create_pinned_mount_namespace(pin)
        run_in_namespace(pin, "mnt", lambda: mount.mount_tmpfs(inside, size_bytes=None))
        assert not mount.is_mount_point(inside)
        assert run_in_namespace(pin, "mnt", lambda: mount.is_mount_point(inside))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                namespaces.enter_mount_namespace(pin)
                code = 0 if mount.is_mount_point(inside) and os.getcwd() == "/" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        mount.unmount_tree(pin.parent)


def test_a_mount_namespace_can_be_made_in_one_that_is_as_young(tmp_path: Path) -> None:
    """As in a container: Linux 6.18 refuses it now and then, by the numbers that its processors give out."""
    make = f"""
import sys
from pathlib import Path
from podhost.linux.namespaces import create_pinned_mount_namespace
for index in range(4):
    create_pinned_mount_namespace(Path({str(tmp_path)!r}, str(index), "mnt"))
"""
    for _ in range(6):
        # What is mounted there goes with the namespace that is around it.
        subprocess.run(["unshare", "--mount", sys.executable, "-c", make], check=True)
