"""fsGroup: the group that owns a volume and may use it (the kubelet's ``SetVolumeOwnership``)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_RW_BITS = 0o660
_RO_BITS = 0o440
_DIRECTORY_BITS = 0o2110
"""setgid, so that new files inherit the group, and search permission."""


def compute_mode(mode: int, fs_group: int | None, *, read_only: bool, directory: bool) -> int:
    """Permission bits of a file or directory once the group has been given its share."""
    if fs_group is None:
        return mode
    return mode | (_RO_BITS if read_only else _RW_BITS) | (_DIRECTORY_BITS if directory else 0)


def apply_fs_group(directory: Path, fs_group: int | None, *, read_only: bool) -> None:
    """Give an empty volume directory to the group.  Raises OSError."""
    if fs_group is None:
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, -1, fs_group)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.fchmod(fd, compute_mode(mode, fs_group, read_only=read_only, directory=True))
    finally:
        os.close(fd)
