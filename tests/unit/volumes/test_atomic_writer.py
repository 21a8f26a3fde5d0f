"""The AtomicWriter layout: what readers see before, during and after an update."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podhost.aiokit import failpoint
from podhost.cri.volumes import VolumeError
from podhost.volumes.atomic_writer import write_payload
from podhost.volumes.plan import Payload, ProjectedFile


def files(**content: str) -> Payload:
    return {path.replace("__", "/"): ProjectedFile(data=text.encode(), mode=0o644) for path, text in content.items()}


def shown(directory: Path) -> dict[str, str]:
    """What a program in the container sees: all files, without the writer's own names."""
    found = {}
    for name in os.listdir(directory):
        if name.startswith(".."):
            continue
        for current, _dirs, names in os.walk(directory / name, followlinks=True):
            for file in names:
                path = Path(current, file)
                found[str(path.relative_to(directory))] = path.read_text()
        if (directory / name).is_file():
            found[name] = (directory / name).read_text()
    return found


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    yield
    failpoint.clear()


def test_layout_is_the_kubelets(tmp_path: Path) -> None:
    assert write_payload(tmp_path, files(a="1", dir__b="2"))
    version = os.readlink(tmp_path / "..data")
    assert re.fullmatch(r"\.\.\d{4}(_\d\d){5}\.\d{9}", version)
    assert sorted(os.listdir(tmp_path)) == sorted([version, "..data", "a", "dir"])
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "dir") == "..data/dir"
    assert (tmp_path / version).stat().st_mode & 0o7777 == 0o755
    assert shown(tmp_path) == {"a": "1", "dir/b": "2"}


def test_unchanged_payload_writes_nothing(tmp_path: Path) -> None:
    write_payload(tmp_path, files(a="1", dir__b="2"))
    before = [(path, path.lstat().st_mtime_ns, path.lstat().st_ino) for path in sorted(tmp_path.rglob("*"))]
    assert not write_payload(tmp_path, files(a="1", dir__b="2"))
    after = [(path, path.lstat().st_mtime_ns, path.lstat().st_ino) for path in sorted(tmp_path.rglob("*"))]
    assert after == before


@pytest.mark.parametrize(
    "change",
    [
        files(a="2", dir__b="2"),
        files(a="1"),
        files(a="1", dir__b="2", c="3"),
        files(dir__c="2"),
        {},
        {"a": ProjectedFile(data=b"1", mode=0o600), "dir/b": ProjectedFile(data=b"2", mode=0o644)},
    ],
)
def test_every_change_becomes_a_new_version_and_the_old_one_goes(tmp_path: Path, change: Payload) -> None:
    write_payload(tmp_path, files(a="1", dir__b="2"))
    old = os.readlink(tmp_path / "..data")
    assert write_payload(tmp_path, change)
    new = os.readlink(tmp_path / "..data")
    assert new != old
    assert shown(tmp_path) == {path: file.data.decode() for path, file in change.items()}
    assert {name for name in os.listdir(tmp_path) if name.startswith("..")} == {new, "..data"}


def test_modes_and_users_are_exact_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_payload(tmp_path, {"a": ProjectedFile(data=b"", mode=0o666), "b": ProjectedFile(data=b"", mode=0)})
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o666
    assert (tmp_path / "b").stat().st_mode & 0o7777 == 0


def test_open_file_keeps_its_old_content(tmp_path: Path) -> None:
    write_payload(tmp_path, files(a="old"))
    with open(tmp_path / "a") as file:
        write_payload(tmp_path, files(a="new"))
        assert file.read() == "old"
    assert (tmp_path / "a").read_text() == "new"


def test_directory_made_by_somebody_else_stays(tmp_path: Path) -> None:
    write_payload(tmp_path, files(a="1"))
    (tmp_path / "made-for-a-subpath").mkdir()
    (tmp_path / "foreign").symlink_to("/etc/hostname")
    write_payload(tmp_path, files(b="2"))
    assert (tmp_path / "made-for-a-subpath").is_dir()
    assert (tmp_path / "foreign").is_symlink()


def test_data_link_that_leads_elsewhere_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    (outside / "a").write_text("precious")
    (volume / "..data").symlink_to(outside)
    write_payload(volume, files(a="1"))
    assert shown(volume) == {"a": "1"}
    assert (outside / "a").read_text() == "precious"


@pytest.mark.parametrize("path", ["../x", "/x", "..data/x"])
def test_paths_out_of_the_volume_are_refused_before_anything_is_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(VolumeError):
        write_payload(tmp_path, {path: ProjectedFile(data=b"", mode=0o644)})
    assert os.listdir(tmp_path) == []


STEPS = ["volumes.mount.04-files-written", "volumes.mount.05-data-swapped", "volumes.mount.06-links-made"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("old", [{}, files(a="1", gone="x")])
def test_interrupted_update_shows_old_or_new_and_the_next_one_tidies_up(
    tmp_path: Path, step: str, old: Payload
) -> None:
    if old:
        write_payload(tmp_path, old)
    failpoint.set(step, "1*error:EIO")
    with pytest.raises(OSError, match="failpoint"):
        write_payload(tmp_path, files(a="2", added="3"))
    if old and "04" in step:
        assert (tmp_path / "a").read_text() == "1"
    write_payload(tmp_path, files(a="2", added="3"))
    assert shown(tmp_path) == {"a": "2", "added": "3"}
    assert len(os.listdir(tmp_path)) == 4


def test_failure_while_writing_leaves_the_old_files_and_no_half_version(tmp_path: Path) -> None:
    write_payload(tmp_path, files(a="1"))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FileExistsError):
        # A file where another needs a directory: fails in the middle of writing.
        write_payload(tmp_path, files(a="2", x="file", x__y="below"))
    assert sorted(os.listdir(tmp_path)) == before
    assert shown(tmp_path) == {"a": "1"}
