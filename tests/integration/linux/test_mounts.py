"""Mounts on the real kernel, as root."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.linux import fs, mount
from podhost.linux.mount import _mount_overlay_by_parts, _mount_overlay_relative
from podhost.linux.threads import run_in_thread

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    mount.unmount_tree(tmp_path)


def make(top: Path, *names: str) -> list[Path]:
    paths = [top / name for name in names]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def test_bind_mount_shows_the_source_and_is_seen_as_a_mount_point(top: Path) -> None:
    source, target = make(top, "source", "target")
    (source / "file").write_text("hello")
    assert not mount.is_mount_point(target)
    mount.bind_mount(source, target)
    assert mount.is_mount_point(target)
    assert not mount.is_mount_point(target / "file")
    assert (target / "file").read_text() == "hello"
    mount.unmount(target)
    mount.unmount(target)
    assert os.listdir(target) == []


def test_read_only_bind_mount_covers_the_mounts_below(top: Path) -> None:
    source, target, below = make(top, "source", "target", "source/below")
    mount.mount_tmpfs(below, size_bytes=None)
    mount.bind_mount(source, target, read_only=True)
    for path in (target / "x", target / "below" / "x"):
        with pytest.raises(OSError, match="Read-only") as caught:
            path.write_text("")
        assert caught.value.errno == errno.EROFS
    (below / "x").write_text("the source itself stays writable")


def test_bind_mount_without_recursion_leaves_out_the_mounts_below(top: Path) -> None:
    source, target, below = make(top, "source", "target", "source/below")
    mount.mount_tmpfs(below, size_bytes=None)
    (below / "x").touch()
    mount.bind_mount(source, target, recursive=False)
    assert os.listdir(target / "below") == []


def test_bind_mount_of_a_descriptor_shows_what_it_refers_to_although_the_path_changed(top: Path) -> None:
    source, target = make(top, "source", "target")
    (source / "file").write_text("the real one")
    fd = os.open(source, os.O_PATH)
    source.rename(top / "moved")
    source.symlink_to("/etc")
    mount.bind_mount_fd(fd, target, read_only=True)
    os.close(fd)
    assert (target / "file").read_text() == "the real one"


def test_file_can_be_bound_on_a_file(top: Path) -> None:
    (top / "source").write_text("content")
    (top / "target").touch()
    mount.bind_mount(top / "source", top / "target")
    assert (top / "target").read_text() == "content"
    assert mount.is_mount_point(top / "target")


def test_tmpfs_has_size_mode_and_group(top: Path) -> None:
    (target,) = make(top, "target")
    mount.mount_tmpfs(target, size_bytes=1 << 20, mode=0o2770, gid=1234, swap=False)
    info = target.stat()
    assert (info.st_mode & 0o7777, info.st_gid) == (0o2770, 1234)
    with pytest.raises(OSError, match="No space"):
        (target / "big").write_bytes(bytes(2 << 20))


def test_unmounting_what_is_absent_or_a_file_below_is_fine(top: Path) -> None:
    mount.unmount(top / "absent")
    (top / "file").touch()
    mount.unmount(top / "file" / "below")


def test_unmounting_never_follows_a_symlink(top: Path) -> None:
    (target,) = make(top, "target")
    mount.mount_tmpfs(target, size_bytes=None)
    (top / "link").symlink_to(target)
    mount.unmount(top / "link")
    assert mount.is_mount_point(target)


def test_unmount_tree_removes_nested_and_stacked_mounts(top: Path) -> None:
    (target,) = make(top, "with space")
    mount.mount_tmpfs(target, size_bytes=None)
    (target / "below").mkdir()
    mount.mount_tmpfs(target / "below", size_bytes=None)
    mount.mount_tmpfs(target / "below", size_bytes=None)
    mount.mount_tmpfs(target, size_bytes=None)
    before = {info.mount_point for info in mount.mounts()}
    assert target in before
    mount.unmount_tree(target)
    mount.unmount_tree(target)
    assert [info for info in mount.mounts() if str(info.mount_point).startswith(str(top))] == []


def test_mounts_tell_source_type_and_root(top: Path) -> None:
    source, target, disk = make(top, "source", "target", "disk")
    mount.bind_mount(source, target, read_only=True)
    mount.mount_tmpfs(disk, size_bytes=4096)
    found = {info.mount_point: info for info in mount.mounts()}
    assert found[target].root.endswith("/source")
    assert "ro" in found[target].options
    assert found[disk].fstype == "tmpfs"
    assert found[disk].parent_id == found[target].parent_id


def make_layers(top: Path, number: int, name: str) -> list[Path]:
    layers = make(top, *(f"{name}{index}" for index in range(number)))
    for index, layer in enumerate(layers):
        (layer / f"file{index}").write_text(f"{index}")
        (layer / "same").write_text(f"{index}")
    return layers


@pytest.mark.parametrize("number", [1, 3, 120])
def test_overlay_stacks_few_and_many_layers_top_first(top: Path, number: int) -> None:
    layers = make_layers(top, number, "layer-with-a-rather-long-name-to-fill-the-page-")
    target, upper, work = make(top, "target", "upper", "work")
    mount.mount_overlay(target, layers, upper, work)
    assert (target / "same").read_text() == "0"
    assert len(os.listdir(target)) == number + 1
    (target / "written").write_text("goes up")
    assert (upper / "written").read_text() == "goes up"


def test_overlay_with_names_that_overlayfs_would_split(top: Path) -> None:
    layers = make_layers(top, 2, "a:b,c\\d")
    target, upper, work = make(top, "target", "up,per", "wo:rk")
    mount.mount_overlay(target, layers, upper, work)
    assert (target / "file1").read_text() == "1"


def test_overlay_on_older_kernels_names_layers_relative_to_their_parent(top: Path) -> None:
    here = os.getcwd()
    layers = make_layers(top, 60, "layer-with-a-rather-long-name-to-fill-the-page-")
    target, upper, work = make(top, "target", "upper", "work")
    run_in_thread(lambda: _mount_overlay_relative(target, layers, upper, work, ()))
    assert len(os.listdir(target)) == 61
    assert os.getcwd() == here


def test_overlay_by_parts_refuses_paths_that_the_kernel_would_cut(top: Path) -> None:
    long = top / ("x" * 200)
    with pytest.raises(OSError, match="path too long") as caught:
        _mount_overlay_by_parts(top, [long / "y"], top / ("u" * 250), top, ())
    assert caught.value.errno == errno.EINVAL


def test_slave_and_private_and_shared_propagation(top: Path) -> None:
    (target,) = make(top, "target")

    def propagation() -> set[str]:
        info = next(info for info in mount.mounts() if info.mount_point == target)
        return {word.partition(":")[0] for word in info.propagation}

    mount.mount_tmpfs(target, size_bytes=None)
    mount.make_private(target)
    assert propagation() == set()
    mount.make_shared(target)
    assert propagation() == {"shared"}
    mount.make_private(target, recursive=True)
    mount.make_slave(target)
    assert propagation() == set()


def test_remove_tree_does_not_enter_mounts_and_says_so(top: Path) -> None:
    tree, precious, _ = make(top, "tree", "precious", "tree/other")
    (precious / "file").write_text("keep")
    (tree / "mounted").mkdir()
    mount.bind_mount(precious, tree / "mounted")
    with pytest.raises(OSError, match="is a mount point") as caught:
        fs.remove_tree(tree)
    assert caught.value.errno == errno.EBUSY
    assert os.listdir(tree) == ["mounted"]
    with pytest.raises(OSError, match="is a mount point"):
        fs.remove_tree(tree / "mounted")
    assert (precious / "file").read_text() == "keep"
    mount.unmount(tree / "mounted")
    fs.remove_tree(tree)
    assert not tree.exists()


def test_remove_tree_clears_immutable_and_append_only_flags(top: Path) -> None:
    (tree,) = make(top, "tree/sub")
    (tree / "file").touch()
    if os.system(f"chattr +i {tree}/file && chattr +a {tree}") != 0:
        pytest.skip("the file system has no such flags")
    fs.remove_tree(top / "tree")
    assert not (top / "tree").exists()


def test_disk_usage_stays_on_one_file_system(top: Path) -> None:
    tree, below = make(top, "tree", "tree/below")
    before = fs.measure_tree(tree)
    mount.mount_tmpfs(below, size_bytes=None)
    (below / "big").write_bytes(bytes(1 << 20))
    assert fs.measure_tree(tree).allocated_bytes <= before.allocated_bytes


@pytest.mark.parametrize("name", ["plain", "with space", "with#hash", "with\\slash"])
def test_mounts_below_a_path_are_found_whatever_it_is_called(top: Path, name: str) -> None:
    source, one, other = make(top, "source", f"{name}/one", "other")
    for target in (one, one, other):
        mount.bind_mount(source, target)
    found = [info.mount_point for info in mount.mounts(at=top / name)]
    assert found.count(one) == 2
    mount.unmount_tree(top / name)
    assert not mount.is_mount_point(one)
    assert mount.is_mount_point(other)
