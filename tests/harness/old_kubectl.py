"""Debian's kubectl 1.20, which speaks SPDY/3.1 and nothing newer; unpacked beside, never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_CACHE = Path("/var/cache/podhost/kubectl-1.20")


def old_kubectl() -> str:
    """Path of the program; skips the test where the package cannot be had."""
    program = _CACHE / "kubectl"
    if not program.exists():
        with tempfile.TemporaryDirectory() as directory:
            _fetch(Path(directory), program)
    return str(program)


def _fetch(directory: Path, program: Path) -> None:
    try:
        subprocess.run(["apt-get", "download", "kubernetes-client"], cwd=directory, check=True, capture_output=True)
        package = next(directory.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, directory / "files"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        pytest.skip(f"Debian's package kubernetes-client cannot be fetched: {error}")
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_name(f"kubectl.{os.getpid()}")
    shutil.copy2(directory / "files" / "usr" / "bin" / "kubectl", fresh)
    fresh.rename(program)
