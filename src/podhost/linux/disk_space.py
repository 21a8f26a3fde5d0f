"""How full a file system is, in bytes and in inodes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from podhost.linux.fs import find_existing


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpace:
    """What only root may use counts as used, as for the kubelet."""

    device: int
    """Equal for two paths on the same file system."""
    capacity_bytes: int
    available_bytes: int
    free_bytes: int
    """With what only root may use."""
    inodes: int
    """0 where the file system makes them as they are needed (btrfs)."""
    inodes_free: int

    @property
    def used_bytes(self) -> int:
        return self.capacity_bytes - self.available_bytes


def read_disk_space(path: Path) -> DiskSpace:
    """Of the file system that ``path``, or what is there of it, is on.  Blocking.  Raises OSError."""
    place = find_existing(path)
    found = os.statvfs(place)
    return DiskSpace(
        device=place.stat().st_dev,
        capacity_bytes=found.f_blocks * found.f_frsize,
        available_bytes=found.f_bavail * found.f_frsize,
        free_bytes=found.f_bfree * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
    )
