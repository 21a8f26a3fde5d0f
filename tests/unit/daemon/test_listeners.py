"""Where the API listens."""

from __future__ import annotations

import socket
import stat
import tempfile
from pathlib import Path

import pytest

from podhost.daemon.listeners import bind_unix
from podhost.errors import InvalidError


def make_path(directory: Path, size_bytes: int) -> Path:
    path = directory / ("d" * (size_bytes - len(str(directory)) - 3)) / "s"
    path.parent.mkdir()
    assert len(str(path)) == size_bytes
    return path


def test_socket_path_of_107_bytes_is_taken_and_open_to_its_owner_only() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        verify_open_to_owner_only(make_path(Path(directory), 107))


def verify_open_to_owner_only(path: Path) -> None:
    with bind_unix(path, None), socket.socket(socket.AF_UNIX) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client.connect(str(path))


def test_longer_socket_path_is_refused_with_the_flag_that_shortens_it(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 108)
    with pytest.raises(InvalidError, match=r"^cannot listen at \"/.*\": .* 107 bytes; choose a shorter --run-root$"):
        bind_unix(path, None)
