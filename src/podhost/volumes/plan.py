"""What a volume is to become, as data.  Nothing here touches the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from podhost.cri.images import RootfsMount
from podhost.cri.volumes import VolumeError


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyDirPlan:
    """A directory of the pod, on disk, or on a tmpfs or huge pages of its own."""

    name: str
    in_memory: bool = False
    size_bytes: int | None = None
    """Of the tmpfs.  The limit of one on disk is watched by the kubelet, not enforced by a mount."""
    page_bytes: int | None = None
    """Of one that is made of huge pages."""
    mode: int = 0o777
    propagates: bool = False
    """Mounts that one container makes in it are to be seen by others (``mountPropagation``)."""
    fs_group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPathPlan:
    """A path of the host, as it is."""

    name: str
    path: str
    type: str = ""
    read_only: bool = False
    propagates: bool = False
    """Mounts made in it are to go to the host or come from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedFile:
    """One file of a written volume."""

    data: bytes
    mode: int
    uid: int | None = None


Payload = Mapping[str, ProjectedFile]
"""Relative path → file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPlan:
    """Files made from API objects (configMap, secret, downwardAPI, projected), replaced atomically."""

    name: str
    plugin: str
    """Directory name of the kind: ``kubernetes.io~configmap`` …"""
    in_memory: bool
    payload: Payload
    fs_group: int | None = None
    propagates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPlan:
    """A persistent volume's directory, which is there before its pods and after them."""

    name: str
    path: str
    read_only: bool = False
    fs_group: int | None = None
    on_root_mismatch: bool = False
    """The group is given to all files only when the directory itself does not have it."""
    propagates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """The files of an image, whose layers are held."""

    name: str
    rootfs: RootfsMount
    propagates: bool = False


VolumePlan = EmptyDirPlan | HostPathPlan | FilesPlan | ClaimPlan | ImagePlan

EMPTY_DIR_PLUGIN = "kubernetes.io~empty-dir"
HOST_PATH_PLUGIN = "kubernetes.io~host-path"
LOCAL_PLUGIN = "kubernetes.io~local-volume"
IMAGE_PLUGIN = "kubernetes.io~image"


def compute_directory(plan: VolumePlan) -> PurePosixPath:
    """The volume's directory below that of its pod, as the kubelet lays it out."""
    plugin = plan.plugin if isinstance(plan, FilesPlan) else _PLUGINS[type(plan)]
    return PurePosixPath("volumes", plugin, plan.name)


_PLUGINS: Mapping[type[VolumePlan], str] = {
    EmptyDirPlan: EMPTY_DIR_PLUGIN,
    HostPathPlan: HOST_PATH_PLUGIN,
    ClaimPlan: LOCAL_PLUGIN,
    ImagePlan: IMAGE_PLUGIN,
}


def check_payload_path(path: str) -> None:
    """Refuse a file path that would leave its volume or meet the writer's own names.

    Raises:
        VolumeError: Validation lets none of these through; the writer does not rely on it.
    """
    parts = path.split("/")
    if not path or path.startswith("/"):
        raise VolumeError(f"invalid path: must be relative path: {path}")
    if ".." in parts:
        raise VolumeError(f"invalid path: must not contain '..': {path}")
    if parts[0].startswith(".."):
        raise VolumeError(f"invalid path: must not start with '..': {path}")
    if len(path) > 4096 or any(len(part.encode()) > 255 for part in parts):
        raise VolumeError(f"invalid path: must be less than or equal to 4096 characters: {path}")
