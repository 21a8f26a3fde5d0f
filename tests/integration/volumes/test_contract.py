"""The real volumes keep the contract that the fake is held to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.volume_contract import VolumeContract
from podhost.cri.volumes import PodVolumes
from podhost.linux import mount
from podhost.volumes.manager import VolumeManager
from podhost.volumes.settings import VolumeSettings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


class Objects:
    def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return {"data": {"key": "value"}} if (kind, namespace, name) == ("ConfigMap", "ns", "there") else None


class TestRealVolumes(VolumeContract):
    @pytest.fixture
    def volumes(self, tmp_path: Path) -> Iterator[PodVolumes]:
        yield VolumeManager(VolumeSettings(pods_dir=tmp_path / "pods"), Objects())
        mount.unmount_tree(tmp_path)
