"""hostPath types: what each accepts, makes, and says."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.cri.volumes import VolumeError
from podhost.volumes.host_path import apply_plan
from podhost.volumes.plan import HostPathPlan


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, str]]:
    """One path of each sort."""
    directory, file, link, sock = (tmp_path / name for name in ("dir", "file", "link", "sock"))
    directory.mkdir()
    file.touch()
    link.symlink_to(directory)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        yield {
            "directory": str(directory),
            "file": str(file),
            "link": str(link),
            "socket": str(sock),
            "char": "/dev/null",
            "absent": str(tmp_path / "absent"),
            "deep": str(tmp_path / "x" / "y"),
        }


@pytest.mark.parametrize(
    ("type_", "place"),
    [
        ("", "directory"),
        ("", "file"),
        ("Directory", "directory"),
        ("Directory", "link"),
        ("DirectoryOrCreate", "directory"),
        ("File", "file"),
        ("FileOrCreate", "file"),
        ("Socket", "socket"),
        ("CharDevice", "char"),
    ],
)
def test_matching_paths_pass_untouched(places: dict[str, str], type_: str, place: str) -> None:
    before = os.lstat(places[place])
    apply_plan(HostPathPlan(name="v", path=places[place], type=type_))
    after = os.lstat(places[place])
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)


@pytest.mark.parametrize(
    ("type_", "place", "what"),
    [
        ("Directory", "file", "a directory"),
        ("Directory", "absent", "a directory"),
        ("DirectoryOrCreate", "file", "a directory"),
        ("File", "directory", "a file"),
        ("File", "absent", "a file"),
        ("FileOrCreate", "directory", "a file"),
        ("Socket", "file", "a socket file"),
        ("Socket", "absent", "a socket file"),
        ("CharDevice", "file", "a character device"),
        ("BlockDevice", "char", "a block device"),
        ("BlockDevice", "absent", "a block device"),
    ],
)
def test_other_paths_are_refused_in_the_kubelets_words(
    places: dict[str, str], type_: str, place: str, what: str
) -> None:
    path = places[place]
    with pytest.raises(VolumeError) as caught:
        apply_plan(HostPathPlan(name="v", path=path, type=type_))
    assert str(caught.value) == f"hostPath type check failed: {path} is not {what}"
    assert not os.path.exists(places["absent"])


@pytest.mark.parametrize(("type_", "place"), [("DirectoryOrCreate", "deep"), ("", "deep")])
def test_missing_directory_is_made(places: dict[str, str], type_: str, place: str) -> None:
    apply_plan(HostPathPlan(name="v", path=places[place], type=type_))
    apply_plan(HostPathPlan(name="v", path=places[place], type=type_))
    assert os.path.isdir(places[place])


def test_missing_file_is_made_but_not_its_parents(places: dict[str, str]) -> None:
    apply_plan(HostPathPlan(name="v", path=places["absent"], type="FileOrCreate"))
    assert os.path.getsize(places["absent"]) == 0
    with pytest.raises(FileNotFoundError):
        apply_plan(HostPathPlan(name="v", path=places["deep"], type="FileOrCreate"))
