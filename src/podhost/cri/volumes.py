"""PodVolumes: a pod's volumes, mounted once for all its containers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.cri.runtime import Mount, MountOrigin
from podhost.cri.stats import FileSystemStats
from podhost.errors import PodhostError


class VolumeError(PodhostError):
    """Volumes cannot be mounted.  Each cause is the text of one ``FailedMount`` event, as the kubelet's."""

    def __init__(self, *causes: str) -> None:
        super().__init__("; ".join(causes))
        self.causes = causes


class ObjectReader(Protocol):
    """Reads API objects that volumes and environments refer to."""

    def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The ``ConfigMap``, ``Secret``, ``PersistentVolumeClaim`` or (without namespace) ``PersistentVolume`` as a
        JSON document, or ``None``.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedVolume:
    """A volume of a pod, ready to be bound into its containers."""

    name: str
    host_path: Path
    read_only: bool = False
    """The volume itself can only be read (configMap, secret)."""
    no_exec: bool = False
    """Nothing in it can be run (image)."""
    origin: MountOrigin | None = None
    """Of one that is the host's, and that ``host_path`` is a clone of."""
    relabel: bool = False
    """Its files are the pod's, and get the pod's SELinux label."""


class PodVolumes(Protocol):
    async def mount_volumes(self, pod: models.Pod) -> dict[str, MountedVolume]:
        """Mount all volumes of the pod.  Idempotent.  On failure what is mounted stays for the retry.

        Raises:
            VolumeError: With the kubelet's message.
        """

    async def container_mounts(
        self, pod: models.Pod, container: models.Container, mounted: Mapping[str, MountedVolume]
    ) -> tuple[Mount, ...]:
        """Bind mounts of one container; ``subPath`` is resolved beneath its volume's root and held by a mount.

        Raises:
            VolumeError: A subPath cannot be had.
        """

    async def unmount_volumes(self, uid: PodUID) -> None:
        """Unmount and delete everything of a pod.  Idempotent."""

    async def refresh_object(self, kind: str, namespace: str, name: str) -> Mapping[PodUID, Sequence[str]]:
        """A ConfigMap or Secret has changed: update the volumes that show it, atomically.

        Returns the pods that show it, with what could not be updated, as the texts of ``FailedMount`` events; there
        the old files stay.
        """

    async def refresh_pod(self, pod: models.Pod) -> Sequence[str]:
        """Bring the files of a pod up to date that are made from its own fields, from objects and from tokens.

        Nothing happens for a pod that has no volumes on disk (yet).  Returns as :meth:`refresh_object` for the pod.
        """

    async def measure_volumes(
        self, pod: models.Pod, names: Collection[str] | None = None
    ) -> dict[str, FileSystemStats]:
        """What the pod's volumes take up, or those with these names.

        None of a hostPath, of an image, and of what is not mounted (yet).  A claim's is that of its file system.
        """

    def list_pods(self) -> set[PodUID]:
        """Pods that have volumes on disk, for the start-up sweep."""
