"""What volumes take up.  Blocking; called in threads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from podhost.cri.stats import DiskUsage, FileSystemStats
from podhost.linux.disk_space import DiskSpace, read_disk_space
from podhost.linux.fs import measure_tree
from podhost.volumes.plan import HOST_PATH_PLUGIN, IMAGE_PLUGIN, LOCAL_PLUGIN

_NOT_OWN = (HOST_PATH_PLUGIN, IMAGE_PLUGIN, LOCAL_PLUGIN)
"""What lies there is not the pod's: views of the host's directories, and images."""


def measure_volumes(
    volumes_dir: Path, names: Collection[str], claims: Mapping[str, Path]
) -> dict[str, FileSystemStats]:
    """By the volume's name.

    Args:
        volumes_dir: ``volumes`` of a pod's directory: ``<plugin>/<volume>``.
        names: Of the volumes that are wanted.
        claims: Directories of persistent volumes; one with a view of its own below it is measured there.
    """
    views = volumes_dir / LOCAL_PLUGIN
    claims = {name: views / name if (views / name).is_dir() else path for name, path in claims.items()}
    found = {name: measure_claim(path) for name, path in claims.items() if path.is_dir()}
    for directory in volumes_dir.glob("*/*"):
        if directory.name in names and directory.parent.name not in _NOT_OWN:
            use = measure_tree(directory)
            used = DiskUsage(used_bytes=use.allocated_bytes, inodes=use.inodes)
            found[directory.name] = _build_stats(read_disk_space(directory), used)
    return found


def measure_claim(path: Path) -> FileSystemStats:
    """As the kubelet says of a local volume: all that its file system holds."""
    space = read_disk_space(path)
    return _build_stats(space, DiskUsage(used_bytes=space.used_bytes, inodes=space.inodes - space.inodes_free))


def _build_stats(space: DiskSpace, used: DiskUsage) -> FileSystemStats:
    return FileSystemStats(
        used=used,
        capacity_bytes=space.capacity_bytes,
        available_bytes=space.available_bytes,
        inodes=space.inodes,
        inodes_free=space.inodes_free,
    )
