"""User namespaces without a process in them, and mounts that show other owners, on the real kernel."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from podhost.linux import mount
from podhost.linux.namespaces import run_in_namespace, unpin_namespaces
from podhost.linux.user_namespaces import map_mount, pin_user_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="user namespaces of pods need root")

FIRST = 7 * 65536


def test_the_other_namespaces_belong_to_it_and_mounts_show_its_owners(tmp_path: Path) -> None:
    pins, queue = tmp_path / "ns", tmp_path / "mq"
    queue.mkdir()
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1"}
    euid = os.geteuid()
    try:
        pinned = pin_user_namespace(
            pins, frozenset({"net", "ipc", "uts"}), FIRST, hostname="pod", sysctls=sysctls, mqueue_target=queue
        )
        assert set(pinned) == {"user", "net", "ipc", "uts"}
        assert os.geteuid() == euid
        assert run_in_namespace(pinned["uts"], "uts", socket.gethostname) == "pod"
        read = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text
        assert run_in_namespace(pinned["net"], "net", read).strip() == "77"
        assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip() != "77"
        assert mount.is_mount_point(queue)

        source, shown = tmp_path / "source", tmp_path / "shown/0"
        source.mkdir()
        (source / "file").write_text("x")
        os.chown(source / "file", 5, 6)
        map_mount(source, shown, pinned["user"])
        info = os.stat(shown / "file")
        assert (info.st_uid, info.st_gid) == (FIRST + 5, FIRST + 6)
        single = tmp_path / "shown/1"
        map_mount(source / "file", single, pinned["user"])
        assert os.stat(single).st_uid == FIRST + 5
        assert os.stat(source / "file").st_uid == 5
    finally:
        for path in (tmp_path / "shown/0", tmp_path / "shown/1", queue):
            mount.unmount(path)
        unpin_namespaces(pins)
    assert not list(pins.iterdir())
