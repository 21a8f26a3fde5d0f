"""The shell functions that ``scripts/demo`` and ``scripts/test`` share."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

_LIBRARY = Path(__file__).parents[3] / "scripts" / "lib"
_NPM = """#!/bin/sh
flock -n "$NODE_LOCK" true || echo busy >>"$NODE_SEEN"
"""


def _start(body: str, tmp_path: Path) -> subprocess.Popen[str]:
    (tmp_path / "bin").mkdir(exist_ok=True)
    npm = tmp_path / "bin" / "npm"
    npm.write_text(_NPM)
    npm.chmod(0o755)
    return subprocess.Popen(
        ["bash", "-euc", f". {_LIBRARY}/common.sh; . {_LIBRARY}/setup.sh; {body}"],
        env={
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "NODE_LOCK": str(tmp_path / "js" / ".lock"),
            "NODE_SEEN": str(tmp_path / "seen"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_lock_of_the_javascript_client_is_held_while_it_is_installed_only(tmp_path: Path) -> None:
    package, directory = tmp_path / "package.json", tmp_path / "js"
    package.write_text("{}")
    directory.mkdir()
    install = f"ensure_node_modules {directory} {package}"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = _start(f"{install}; flock -n {directory}/.lock echo free", tmp_path)
        assert waiting.stderr is not None
        assert "waiting for another installation of the JavaScript client" in waiting.stderr.readline()
    out, _ = waiting.communicate()
    assert (waiting.returncode, out) == (0, "free\n")
    assert (tmp_path / "seen").read_text() == "busy\n"
    assert "up to date" in _start(install, tmp_path).communicate()[1]


def test_what_python_leaves_in_the_source_does_not_change_its_key(tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "podhost").mkdir(parents=True)
    (source / "podhost" / "main.py").write_text("one")
    key = f"hash_of {source}"
    before = _start(key, tmp_path).communicate()[0]
    for name in ("podhost.egg-info/PKG-INFO", "podhost/__pycache__/main.cpython-311.pyc", "podhost/__pycache__/x.tmp"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("left behind")
    assert _start(key, tmp_path).communicate()[0] == before
    (source / "podhost" / "main.py").write_text("two")
    assert _start(key, tmp_path).communicate()[0] != before
