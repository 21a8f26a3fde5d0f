"""``podhost fix``: shows first, writes only when told to."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from podhost.cli.main import main

GOOD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: c\n    image: i\n"
BROKEN = GOOD.replace("    image", "  image")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "pod.yaml"
    path.write_text(BROKEN)
    path.chmod(0o640)
    return path


def test_change_is_shown_and_not_written_without_a_yes(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fix", str(broken)]) == 1
    out, err = capsys.readouterr()
    assert "-  image: i\n+    image: i\n" in out
    assert "is as it was; to write this: podhost fix --yes" in err
    assert broken.read_text() == BROKEN


@pytest.mark.parametrize("flag", ["--yes", "-y", "--write"])
def test_yes_writes_in_place(broken: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    inode = broken.stat().st_ino
    assert main(["fix", flag, str(broken)]) == 0
    assert (broken.read_text(), broken.stat().st_mode & 0o777, broken.stat().st_ino) == (GOOD, 0o640, inode)
    assert "one fault mended" in capsys.readouterr().err
    assert main(["fix", flag, str(broken)]) == 0
    assert "nothing to mend" in capsys.readouterr().err


def test_what_has_two_readings_is_left_to_the_author(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(BROKEN.replace("name: a", "name: 'a"))
    assert main(["fix", "--yes", str(path)]) == 1
    assert path.read_text() == GOOD.replace("name: a", "name: 'a")
    assert "one fault is left that only its author can mend" in capsys.readouterr().err


def test_stdin_is_mended_to_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(BROKEN))
    assert main(["fix", "-"]) == 0
    assert capsys.readouterr().out == GOOD
