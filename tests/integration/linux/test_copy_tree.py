"""Copies of directories with all that a file system keeps, as root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from podhost.linux.copy_tree import copy_directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def copy(source: Path, target: Path) -> None:
    target.mkdir()
    source_fd, target_fd = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target))
    try:
        copy_directory(source_fd, target_fd)
    finally:
        os.close(source_fd)
        os.close(target_fd)


def test_files_links_devices_owners_and_times_are_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "dir" / "deep").mkdir(parents=True)
    (source / "dir" / "deep" / "file").write_bytes(b"x" * 100_000)
    (source / "one").write_text("twice")
    os.link(source / "one", source / "two")
    (source / "abroad").symlink_to("/etc")
    os.mkfifo(source / "fifo", 0o600)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(source / "dir", 101, 102)
    os.chown(source / "abroad", 103, 104, follow_symlinks=False)
    (source / "one").chmod(0o4711)
    os.utime(source / "dir", ns=(10**18, 10**18))
    source.chmod(0o1750)
    copy(source, target)
    assert (target / "dir" / "deep" / "file").read_bytes() == b"x" * 100_000
    assert os.readlink(target / "abroad") == "/etc"
    assert (target / "one").stat().st_ino == (target / "two").stat().st_ino
    assert (target / "null").stat().st_rdev == os.makedev(1, 3)
    for name in (".", "dir", "dir/deep", "dir/deep/file", "one", "abroad", "fifo", "null"):
        was, now = (os.lstat(root / name) for root in (source, target))
        assert (was.st_mode, was.st_uid, was.st_gid) == (now.st_mode, now.st_uid, now.st_gid), name
        if name not in ("fifo", "null"):
            assert was.st_mtime_ns == now.st_mtime_ns, name
