"""For the tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_daemon_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A podhost that happens to run here answers no unit test."""
    monkeypatch.setenv("PODHOST_RUN_ROOT", str(tmp_path / "no-daemon-runs-here"))
    monkeypatch.delenv("PODHOST_INSTANCE", raising=False)
