"""Tar streams out of directories and back, also hostile ones."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podhost.cli.copy_tar import Unpacker, pack


def make_tree(root: Path) -> Path:
    tree = root / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "blob").write_bytes(os.urandom(200000))
    (tree / "deep" / "er" / "empty").touch()
    (tree / "run").write_text("#!/bin/sh\n")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("deep/blob")
    os.link(tree / "run", tree / "again")
    return tree


def unpack(data: bytes, root: str, target: Path) -> tuple[int, list[str]]:
    skipped: list[str] = []
    count = Unpacker(root, target, on_skipped=skipped.append).unpack(io.BytesIO(data))
    return count, skipped


def build(*members: tuple[str, dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, facts in members:
            info = tarfile.TarInfo(name)
            content = facts.pop("content", b"")
            info.size = len(content)
            for key, value in facts.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    buffer = io.BytesIO()
    assert pack(tree, "x", buffer, on_skipped=pytest.fail) == 5
    assert unpack(buffer.getvalue(), "x", tmp_path / "back") == (5, [])
    subprocess.run(["diff", "-r", "--no-dereference", tree, tmp_path / "back"], check=True)
    assert (tmp_path / "back" / "run").stat().st_mode & 0o777 == 0o755
    assert os.readlink(tmp_path / "back" / "link") == "deep/blob"


def test_single_file_takes_the_name_of_the_target_and_replaces_what_is_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (tmp_path / "target").symlink_to(victim)
    assert unpack(build(("hosts", {"content": b"new"})), "hosts", tmp_path / "target") == (1, [])
    assert ((tmp_path / "target").read_text(), victim.read_text()) == ("new", "safe")


def test_archive_of_real_tar_is_understood(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    data = subprocess.run(["tar", "cf", "-", "-C", tmp_path, "tree"], check=True, capture_output=True).stdout
    assert unpack(data, "tree", tmp_path / "back") == (5, [])
    subprocess.run(["diff", "-r", "--no-dereference", tree, tmp_path / "back"], check=True)


def test_sockets_and_pipes_are_left_out(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    os.mkfifo(tree / "pipe")
    skipped: list[str] = []
    pack(tree, "x", io.BytesIO(), on_skipped=skipped.append)
    assert skipped == ["x/pipe is no file and no directory"]


HOSTILE: list[tuple[str, Callable[[Path], list[tuple[str, dict[str, Any]]]]]] = [
    ("climbs out", lambda out: [("x/../../evil", {"content": b"!"})]),
    ("is elsewhere", lambda out: [(f"{out}/evil", {"content": b"!"})]),
    ("is another root", lambda out: [("evil", {"content": b"!"})]),
    (
        "writes through a link",
        lambda out: [
            ("x/dir", {"type": tarfile.SYMTYPE, "linkname": str(out)}),
            ("x/dir/evil", {"content": b"!"}),
        ],
    ),
    ("links to elsewhere", lambda out: [("x/evil", {"type": tarfile.SYMTYPE, "linkname": "../../secret"})]),
    ("links hard to elsewhere", lambda out: [("x/evil", {"type": tarfile.LNKTYPE, "linkname": "../secret"})]),
    (
        "links hard to a link",
        lambda out: [
            ("x/a", {"type": tarfile.SYMTYPE, "linkname": "b"}),
            ("x/evil", {"type": tarfile.LNKTYPE, "linkname": "x/a"}),
        ],
    ),
    ("is a device", lambda out: [("x/evil", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})]),
]


@pytest.mark.parametrize(("what", "members"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_nothing_leads_out_of_the_target(
    what: str, members: Callable[[Path], list[tuple[str, dict[str, Any]]]], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "secret").write_text("secret")
    target = tmp_path / "in" / "target"
    target.mkdir(parents=True)
    _, skipped = unpack(build(("x", {"type": tarfile.DIRTYPE, "mode": 0o755}), *members(outside)), "x", target)
    assert skipped
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "outside", "secret"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["target"]
    assert not (target / "evil").exists()


def test_set_user_id_does_not_come_along(tmp_path: Path) -> None:
    unpack(build(("f", {"content": b"", "mode": 0o4755})), "f", tmp_path / "f")
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("data", [b"", b"sh: 1: tar: not found\n", os.urandom(2000)])
def test_what_is_no_archive_is_an_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(tarfile.ReadError):
        unpack(data, "x", tmp_path / "x")
