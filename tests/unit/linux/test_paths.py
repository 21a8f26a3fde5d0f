"""Paths stay beneath their root, whatever symlinks say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.linux import paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    (root / "secret").write_text("inside too")
    return root


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    fd = os.open(root, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/etc/passwd", b"inside"),
        ("../../../../etc/passwd", b"inside"),
        ("../secret", b"inside too"),
        ("/secret", b"inside too"),
    ],
)
def test_symlinks_are_resolved_as_if_the_root_were_the_file_systems(root: Path, target: str, content: bytes) -> None:
    (root / "link").symlink_to(target)
    assert paths.read_file_beneath(root, "link", 100) == content
    assert paths.read_file_beneath(root, target, 100) == content


def test_reading_is_limited(root: Path) -> None:
    assert paths.read_file_beneath(root, "etc/passwd", 3) == b"ins"


def test_magic_links_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="symbolic links"):
        paths.read_file_beneath(Path("/proc"), "self/root/etc/hostname", 10)


def test_fifo_and_directory_are_no_files(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        paths.read_file_beneath(root, "fifo", 10)
    with pytest.raises(OSError, match="not a regular file"):
        paths.read_file_beneath(root, "etc", 10)


def test_missing_directories_are_made_with_the_exact_mode(root: Path, root_fd: int) -> None:
    old = os.umask(0o077)
    try:
        os.close(paths.mkdir_without_links(root_fd, "etc/b//c/.", 0o777))
    finally:
        os.umask(old)
    assert (root / "etc" / "b" / "c").stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize(("target", "path"), [("..", "up/made"), ("etc", "up/made"), ("nowhere", "up"), ("/", "up")])
def test_nothing_is_made_or_opened_through_a_symlink(root: Path, root_fd: int, target: str, path: str) -> None:
    (root / "up").symlink_to(target)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        paths.mkdir_without_links(root_fd, path, 0o755)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        paths.open_without_links(root_fd, path, os.O_PATH)
    assert sorted(os.listdir(root)) == ["etc", "secret", "up"]
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


@pytest.mark.parametrize("path", ["../made", "etc/../../made", "/made"])
def test_nothing_is_made_or_opened_above_the_root(root: Path, root_fd: int, path: str) -> None:
    with pytest.raises(OSError, match="Invalid cross-device link"):
        paths.mkdir_without_links(root_fd, path, 0o755)
    with pytest.raises(OSError, match="Invalid cross-device link"):
        paths.open_without_links(root_fd, path, os.O_PATH)
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


def test_file_in_the_way_is_an_error(root: Path, root_fd: int) -> None:
    with pytest.raises(NotADirectoryError):
        paths.mkdir_without_links(root_fd, "secret/x", 0o755)


def test_existing_directory_keeps_its_mode(root: Path, root_fd: int) -> None:
    (root / "etc").chmod(0o700)
    os.close(paths.mkdir_without_links(root_fd, "etc", 0o777))
    assert (root / "etc").stat().st_mode & 0o777 == 0o700
