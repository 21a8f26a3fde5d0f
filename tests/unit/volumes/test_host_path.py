"""hostPath types: what each accepts, makes, and says."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.cri.volumes import VolumeError
from podhost.volumes.host_path import check_path
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
    check_path(HostPathPlan(name="v", path=places[place], type=type_))
    after = os.lstat(places[place])
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)


@pytest.mark.parametrize(
    ("type_", "place", "text"),
    [
        ("Directory", "file", "is not a directory, it's a File"),
        ("DirectoryOrCreate", "file", "is not a directory, it's a File"),
        ("File", "directory", "is not a file, it's a Directory"),
        ("File", "socket", "is not a file, it's a Socket"),
        ("FileOrCreate", "directory", "is not a file, it's a Directory"),
        ("FileOrCreate", "char", "is not a file, it's a CharDevice"),
        ("Socket", "file", "is not a socket file, it's a File"),
        ("CharDevice", "file", "is not a character device, it's a File"),
        ("BlockDevice", "char", "is not a block device, it's a CharDevice"),
    ],
)
def test_other_paths_are_refused_in_the_kubelets_words(
    places: dict[str, str], type_: str, place: str, text: str
) -> None:
    path = places[place]
    with pytest.raises(VolumeError) as caught:
        check_path(HostPathPlan(name="v", path=path, type=type_))
    assert str(caught.value) == f"hostPath type check failed: {path} {text}"


@pytest.mark.parametrize("type_", ["Directory", "File", "Socket", "CharDevice", "BlockDevice"])
def test_missing_paths_are_refused_unless_they_are_to_be_made(places: dict[str, str], type_: str) -> None:
    for path in (places["absent"], f"{places['file']}/below"):
        with pytest.raises(VolumeError) as caught:
            check_path(HostPathPlan(name="v", path=path, type=type_))
        assert str(caught.value) == f"hostPath {path} doesn't exist"
        assert not os.path.exists(path)


def test_what_kubernetes_has_no_name_for_is_refused(places: dict[str, str]) -> None:
    os.mkfifo(places["absent"])
    with pytest.raises(VolumeError, match="unable to determine its type: only recognise file, directory, socket"):
        check_path(HostPathPlan(name="v", path=places["absent"], type="File"))


@pytest.mark.parametrize(("type_", "place"), [("DirectoryOrCreate", "deep"), ("", "deep")])
def test_missing_directory_is_made(places: dict[str, str], type_: str, place: str) -> None:
    check_path(HostPathPlan(name="v", path=places[place], type=type_))
    check_path(HostPathPlan(name="v", path=places[place], type=type_))
    assert os.path.isdir(places[place])


def test_missing_file_is_made_but_not_its_parents(places: dict[str, str]) -> None:
    check_path(HostPathPlan(name="v", path=places["absent"], type="FileOrCreate"))
    assert os.path.getsize(places["absent"]) == 0
    with pytest.raises(FileNotFoundError):
        check_path(HostPathPlan(name="v", path=places["deep"], type="FileOrCreate"))
