"""Reads the eviction signals of this machine: memory, file systems, process ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from podhost.kubelet.eviction_thresholds import (
    IMAGE_DISK,
    IMAGE_INODES,
    MEMORY,
    NODE_DISK,
    NODE_INODES,
    PIDS,
    Observation,
    Observations,
)
from podhost.kubelet.settings import KubeletSettings
from podhost.linux.disk_space import DiskSpace, read_disk_space
from podhost.linux.memory_pressure import read_available_bytes
from podhost.linux.task_count import read_task_count


@dataclass(frozen=True, slots=True)
class NodeLook:
    """What was seen at one moment."""

    signals: Observations
    has_image_fs: bool = False
    """The image store is on a file system of its own; writable layers are on the node's in any case."""


def look_at_node(settings: KubeletSettings) -> NodeLook:
    """Memory and process ids of the machine, the file systems of pods and of images.  Blocking.

    Raises OSError, ValueError.
    """
    available, total = read_available_bytes()
    running, most = read_task_count()
    node = read_disk_space(settings.state_dir)
    signals = {
        MEMORY: Observation(available, total),
        **_observe_disk(node, NODE_DISK, NODE_INODES),
        PIDS: Observation(most - running, most),
    }
    if settings.images_dir is None:
        return NodeLook(signals)
    images = read_disk_space(settings.images_dir)
    signals |= _observe_disk(images, IMAGE_DISK, IMAGE_INODES)
    return NodeLook(signals, has_image_fs=images.device != node.device)


def _observe_disk(space: DiskSpace, disk: str, inodes: str) -> Mapping[str, Observation]:
    found = {disk: Observation(space.available_bytes, space.capacity_bytes)}
    if space.inodes:
        found[inodes] = Observation(space.inodes_free, space.inodes)
    return found
