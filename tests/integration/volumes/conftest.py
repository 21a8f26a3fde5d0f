"""Volumes below the test's directory, all unmounted at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.volume_host import Host
from podhost.aiokit import failpoint
from podhost.linux import mount


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield Host(tmp_path)
    failpoint.clear()
    mount.unmount_tree(tmp_path)
