"""Volumes in a user namespace, where the kernel can map some file systems and not others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from podhost.cri.runtime import Mount
from podhost.errors import UnavailableError
from podhost.runtime import mapped_mounts
from podhost.runtime.settings import BundlePaths


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_a_volume_that_the_kernel_cannot_map_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mapped_mounts, "map_mount", refuse)
    token = Mount(container_path="/var/run/secrets", host_path=tmp_path)
    with pytest.raises(UnavailableError, match=r'owners of "/var/run/secrets" .*needs Linux 6\.3'):
        mapped_mounts.map_mounts(BundlePaths(tmp_path), (token,), tmp_path / "user")
    assert mapped_mounts.map_mounts(BundlePaths(tmp_path), (token,), None) == (token,)
