"""``/dev/null`` after a runtime gave it away, and the file that stands for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podhost.linux import mount
from podhost.linux.namespaces import unshare_mounts
from podhost.linux.null_device import cover_null_device, open_empty_file, restore_null_device
from podhost.linux.threads import run_in_thread


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    try:
        os.mknod(tmp_path / "dev/null", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs to make devices")
    os.chown(tmp_path / "dev/null", 1234, 5)
    return tmp_path


def test_null_device_is_given_back_to_root_and_open_to_all(root: Path) -> None:
    restore_null_device(root)
    found = (root / "dev/null").stat()
    assert (found.st_uid, found.st_gid, found.st_mode) == (0, 0, 0o20666)


@pytest.mark.parametrize("target", ["/outside", "../outside"])
def test_links_do_not_lead_to_another_file(root: Path, target: str) -> None:
    outside = root / "outside"
    outside.touch()
    os.chown(outside, 1234, 5)
    (root / "dev/null").unlink()
    (root / "dev/null").symlink_to(target)
    restore_null_device(root)
    assert outside.stat().st_uid == 1234


@pytest.mark.parametrize("number", [(1, 5), (8, 0)])
def test_another_device_is_left_to_its_owner(root: Path, number: tuple[int, int]) -> None:
    device = root / "dev/null"
    device.unlink()
    os.mknod(device, 0o20600, os.makedev(*number))
    os.chown(device, 1234, 5)
    restore_null_device(root)
    assert device.stat().st_uid == 1234


def test_missing_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        restore_null_device(tmp_path)


def test_empty_file_is_at_its_end_and_takes_nothing() -> None:
    fd = open_empty_file()
    try:
        assert os.read(fd, 10) == b""
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
    finally:
        os.close(fd)


def test_covered_null_device_works_and_is_not_the_host_s(root: Path) -> None:
    def in_a_namespace_of_its_own() -> tuple[bytes, bool, int]:
        unshare_mounts()
        mount.make_slave(Path("/"))
        cover_null_device(root / "scratch")
        found = os.stat("/dev/null")
        with open("/dev/null", "r+b", buffering=0) as opened:
            opened.write(b"x")
            return opened.read(), found.st_dev == outside.st_dev, found.st_mode

    outside = os.stat("/dev/null")
    assert run_in_thread(in_a_namespace_of_its_own) == (b"", False, 0o20666)
    assert os.stat("/dev/null").st_dev == outside.st_dev
    assert not (root / "scratch").exists()
