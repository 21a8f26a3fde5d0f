"""The volumes of one instance on this machine, with objects that a test can change."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.linux import mount
from podhost.volumes.manager import VolumeManager
from podhost.volumes.settings import VolumeSettings


class Objects:
    """ConfigMaps and Secrets that a test can change."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str, str], dict[str, Any]] = {}

    def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.documents.get((kind, namespace, name))

    def config_map(self, name: str, **data: str) -> None:
        self.documents["ConfigMap", "ns", name] = {"data": {k.replace("_", "."): v for k, v in data.items()}}

    def secret(self, name: str, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.documents["Secret", "ns", name] = {"data": encoded}


class Host:
    """One instance's volumes, with a manager that can be restarted."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.pods = top / "pods"
        self.objects = Objects()
        self.restart()

    def restart(self) -> None:
        self.manager = VolumeManager(VolumeSettings(pods_dir=self.pods), self.objects)

    def pod(self, *volumes: Mapping[str, Any], uid: str = "uid-1", **spec: Any) -> models.Pod:
        document = {
            "metadata": {"name": "p", "namespace": "ns", "uid": uid},
            "spec": {"volumes": list(volumes), "containers": [], **spec},
        }
        return msgspec.convert(document, models.Pod)

    def mounts(self) -> list[str]:
        """Mount points below the instance's directory, relative to it."""
        points = [str(info.mount_point) for info in mount.mounts()]
        return sorted(str(Path(p).relative_to(self.top)) for p in points if p.startswith(f"{self.top}/"))


def container(*mounts: Mapping[str, Any], name: str = "c") -> models.Container:
    return msgspec.convert({"name": name, "volumeMounts": list(mounts)}, models.Container)


UID = PodUID("uid-1")


EMPTY = {"name": "e", "emptyDir": {}}


MEMORY = {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}


CONFIG = {"name": "c", "configMap": {"name": "cm"}}


SECRET = {"name": "s", "secret": {"secretName": "sec"}}
