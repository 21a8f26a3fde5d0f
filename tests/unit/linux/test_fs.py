"""Trees on disk: written atomically, measured, and removed whatever they look like."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from podhost.linux import fs


def test_write_atomic_replaces_content_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fs.write_atomic(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    fs.write_atomic(path, b"two", mode=0o644, fsync=True)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        fs.write_atomic(tmp_path / "target", b"x")
    assert os.listdir(tmp_path) == ["target"]


def test_ensure_directory_sets_the_mode_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    old = os.umask(0o077)
    try:
        fs.ensure_directory(path, 0o777)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o7777 == 0o777
    fs.ensure_directory(path, 0o750)
    assert path.stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("make", [lambda p: p.write_text(""), lambda p: p.symlink_to("/tmp")])
def test_ensure_directory_refuses_anything_else(tmp_path: Path, make: object) -> None:
    path = tmp_path / "x"
    assert callable(make)
    make(path)
    with pytest.raises(NotADirectoryError):
        fs.ensure_directory(path)


def test_remove_tree_is_idempotent_and_takes_files_too(tmp_path: Path) -> None:
    fs.remove_tree(tmp_path / "absent")
    fs.remove_tree(tmp_path / "absent" / "below")
    (tmp_path / "file").write_text("")
    fs.remove_tree(tmp_path / "file")
    fs.remove_tree(tmp_path / "file" / "below")
    assert os.listdir(tmp_path) == []


def test_remove_tree_deletes_symlinks_without_following_them(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("precious")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "dir-link").symlink_to(kept)
    (tree / "file-link").symlink_to(kept / "file")
    (tree / "dangling").symlink_to("nowhere")
    fs.remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "precious"


def test_remove_tree_takes_a_symlink_itself(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "link").symlink_to(kept)
    fs.remove_tree(tmp_path / "link")
    assert kept.is_dir()
    assert not (tmp_path / "link").is_symlink()


def make_deep(top: Path, depth: int, width: int = 1) -> None:
    top.mkdir()
    fd = os.open(top, os.O_PATH)
    for _ in range(depth):
        for number in range(width):
            os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("directory", dir_fd=fd)
        below = os.open("directory", os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_remove_tree_is_not_limited_by_depth_or_open_files(tmp_path: Path) -> None:
    make_deep(tmp_path / "deep", 1500)
    before = len(os.listdir("/proc/self/fd"))
    fs.remove_tree(tmp_path / "deep")
    assert not (tmp_path / "deep").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_remove_tree_handles_odd_names_and_unreadable_modes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (b"\xff\xfe", b"new\nline", b"-rf", "umläut".encode()):
        (tree / os.fsdecode(name)).mkdir(mode=0o000)
    os.mkfifo(tree / "fifo")
    fs.remove_tree(tree)
    assert not tree.exists()


def test_remove_tree_wins_against_somebody_who_goes_on_creating(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    started = threading.Event()

    def create() -> None:
        for number in range(3000):
            try:
                (tree / f"{number}").mkdir()
                (tree / f"{number}" / "file").touch()
            except OSError:
                if not tree.exists():
                    return
            started.set()

    thread = threading.Thread(target=create)
    thread.start()
    started.wait()
    try:
        fs.remove_tree(tree)
    except OSError:
        # The creator was quicker this time; once it has ended, the removal must succeed.
        pass
    thread.join()
    fs.remove_tree(tree)
    assert not tree.exists()


def test_disk_usage_counts_hard_links_once_and_follows_no_symlink(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    empty = fs.measure_tree(tree)
    (tmp_path / "outside").write_bytes(b"x" * 1_000_000)
    (tree / "link").symlink_to(tmp_path / "outside")
    (tree / "a").write_bytes(b"x" * 100_000)
    os.link(tree / "a", tree / "sub" / "b")
    used = fs.measure_tree(tree)
    assert 100_000 <= used.allocated_bytes - empty.allocated_bytes < 200_000
    assert (empty.inodes, used.inodes) == (2, 4)
    assert fs.measure_tree(tmp_path / "absent") == fs.TreeUse()
    assert fs.measure_tree(tree / "a").allocated_bytes >= 100_000
