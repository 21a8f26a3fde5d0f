"""A log that is put aside when it is too large."""

from __future__ import annotations

from pathlib import Path

from podhost.linux.rotating_file import RotatingFile


def test_whole_lines_go_to_a_new_file_when_the_old_one_is_full_and_only_some_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.log"
    log = RotatingFile(path, max_bytes=10, max_backups=2)
    for number in range(6):
        log.write(f"line {number}\n".encode())
    log.close()
    log.close()
    files = sorted(path.parent.iterdir())
    assert [each.read_text() for each in files] == ["line 3\n", "line 4\n", "line 5\n"]
    assert files[-1] == path
    assert path.stat().st_mode & 0o777 == 0o600
    again = RotatingFile(path, max_bytes=20, max_backups=0)
    again.write(b"line 6\n")
    assert path.read_text() == "line 5\nline 6\n"
    again.write(b"a line longer than what a file may have\n")
    again.write(b"next\n")
    again.close()
    assert len(list(path.parent.iterdir())) == 5
    assert path.read_text() == "next\n"


def test_what_is_older_than_it_may_be_goes_with_the_next_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    long_ago, other = tmp_path / "audit-2020-01-01T00-00-00.000000.log", tmp_path / "other-2020-01-01T00-00-00.log"
    for each in (long_ago, other):
        each.write_text("old\n")
    log = RotatingFile(path, max_bytes=10, max_backups=0, max_age_days=7)
    log.write(b"line 1\n")
    assert long_ago.exists()
    for number in (2, 3):
        log.write(f"line {number}\n".encode())
    log.close()
    assert not long_ago.exists()
    assert other.exists()
    assert len(list(tmp_path.glob("audit-*.log"))) == 2
