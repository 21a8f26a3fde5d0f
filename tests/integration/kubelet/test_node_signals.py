"""Signals of a real file system that is small: bytes and inodes, as they are used up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.kubelet.eviction_thresholds import (
    IMAGE_DISK,
    IMAGE_INODES,
    MEMORY,
    NODE_DISK,
    NODE_INODES,
    PIDS,
    build_thresholds,
    find_met,
)
from podhost.kubelet.node_signals import NodeLook, look_at_node
from podhost.kubelet.settings import KubeletSettings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of 32 MiB and some hundred inodes."""
    image, mounted = tmp_path / "disk.img", tmp_path / "disk"
    image.touch()
    os.truncate(image, 32 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-N", "512", "-m", "0", str(image)], check=True)
    mounted.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def look(disk: Path, images: Path) -> NodeLook:
    settings = KubeletSettings(node_name="n", log_dir=disk / "logs", state_dir=disk / "state", images_dir=images / "i")
    return look_at_node(settings)


def test_bytes_and_inodes_that_are_used_are_missing(disk: Path) -> None:
    thresholds = build_thresholds({NODE_DISK: "50%", NODE_INODES: "50%"})
    before = look(disk, disk)
    assert find_met(thresholds, before.signals) == ()
    assert before.signals[NODE_DISK] == before.signals[IMAGE_DISK]
    assert not before.has_image_fs

    (disk / "big").write_bytes(bytes(20 * MIB))
    os.sync()
    full = look(disk, disk).signals
    assert [each.signal for each in find_met(thresholds, full)] == [NODE_DISK]
    assert full[NODE_INODES].available == before.signals[NODE_INODES].available - 1
    (disk / "big").unlink()

    for number in range(300):
        (disk / str(number)).touch()
    crowded = look(disk, disk).signals
    assert [each.signal for each in find_met(thresholds, crowded)] == [NODE_INODES]


def test_images_on_a_disk_of_their_own_are_told_apart(disk: Path, tmp_path: Path) -> None:
    seen = look(disk, tmp_path)
    assert seen.has_image_fs
    assert seen.signals[NODE_INODES].capacity == 512
    assert seen.signals[IMAGE_DISK].capacity > seen.signals[NODE_DISK].capacity
    assert IMAGE_INODES in seen.signals


def test_machine_has_memory_and_process_ids(tmp_path: Path) -> None:
    seen = look(tmp_path, tmp_path).signals
    for name in (MEMORY, PIDS):
        assert 0 < seen[name].available < seen[name].capacity
