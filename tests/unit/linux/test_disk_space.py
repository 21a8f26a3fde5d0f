"""Space of a file system."""

from __future__ import annotations

from pathlib import Path

from podhost.linux.disk_space import read_disk_space


def test_path_that_is_not_there_yet_is_on_the_disk_of_its_parent(tmp_path: Path) -> None:
    there, absent = read_disk_space(tmp_path), read_disk_space(tmp_path / "a" / "b")
    assert there.device == absent.device == tmp_path.stat().st_dev
    assert 0 < there.available_bytes <= there.capacity_bytes
    assert there.used_bytes == there.capacity_bytes - there.available_bytes


def test_proc_is_another_file_system(tmp_path: Path) -> None:
    assert read_disk_space(Path("/proc")).device != read_disk_space(tmp_path).device
