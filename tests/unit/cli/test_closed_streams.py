"""Streams that the caller has closed, or that are full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from podhost.cli.main import COMMANDS

_POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}\n"
_FDS = """
import os, sys
from podhost.cli.main import main
code = main(sys.argv[1:])
for fd in (0, 1, 2):
    assert os.readlink(f"/proc/self/fd/{fd}") == os.devnull, fd
os._exit(code)
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pod.yaml"
    path.write_text(_POD)
    return path


def _shell(line: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", sys.executable, *words], check=False, capture_output=True, text=True, timeout=60
    )


def test_closed_streams_are_no_failure_and_their_numbers_go_to_nothing_else(manifest: Path) -> None:
    ended = _shell('"$@" <&- >&- 2>&-', "-c", _FDS, "check", str(manifest))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["--help", *sorted({"check", "version", "man"} & set(COMMANDS))])
def test_closed_output_gives_no_traceback(command: str, manifest: Path) -> None:
    words = [command, str(manifest)] if command == "check" else [command]
    assert "Traceback" not in _shell('"$@" >&-', "-m", "podhost.cli.main", *words).stderr


def test_full_output_is_told_in_one_line(manifest: Path) -> None:
    ended = _shell('"$@" >/dev/full', "-m", "podhost.cli.main", "check", "-o", "json", str(manifest))
    assert (ended.returncode, ended.stderr) == (1, "podhost: cannot write the output: No space left on device\n")
