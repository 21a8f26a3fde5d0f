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


def apply_fs_group_to_tree(root: Path, fs_group: int, *, on_root_mismatch: bool) -> None:
    """Give a volume with all that is in it to the group.  Symlinks are given, never followed.  Raises OSError."""
    top = os.stat(root, follow_symlinks=False)
    if on_root_mismatch and _belongs_to(top, fs_group):
        return
    for _, names, files, directory_fd in os.fwalk(root, topdown=False, follow_symlinks=False):
        for name in (*names, *files):
            _give(name, directory_fd, fs_group)
        # The root last: it says whether all below it has been done.
        _give_directory(directory_fd, fs_group)


def _belongs_to(info: os.stat_result, fs_group: int) -> bool:
    wanted = compute_mode(0, fs_group, read_only=False, directory=True)
    return info.st_gid == fs_group and stat.S_IMODE(info.st_mode) & wanted == wanted


def _give(name: str, directory_fd: int, fs_group: int) -> None:
    info = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        return  # Done when it is walked.
    os.chown(name, -1, fs_group, dir_fd=directory_fd, follow_symlinks=False)
    if stat.S_ISREG(info.st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            os.fchmod(fd, compute_mode(mode, fs_group, read_only=False, directory=False))
        finally:
            os.close(fd)


def _give_directory(fd: int, fs_group: int) -> None:
    os.fchown(fd, -1, fs_group)
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    os.fchmod(fd, compute_mode(mode, fs_group, read_only=False, directory=True))


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
