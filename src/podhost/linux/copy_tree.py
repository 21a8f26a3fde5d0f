"""Copy a directory with everything that a file system keeps about its files.  Blocking."""

from __future__ import annotations

import errno
import os
import stat

_CHUNK_BYTES = 8 << 20
_UNSUPPORTED = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def copy_directory(source_fd: int, target_fd: int) -> None:
    """Copy what is in one open directory, and its owner and mode, to another one, which is empty.

    Symbolic links are copied, never followed; sockets are left out.  Neither tree may change meanwhile.

    Raises:
        OSError: Something cannot be copied; what has been copied stays.
    """
    _copy_entries(source_fd, target_fd, {})
    _copy_attributes(source_fd, target_fd)


def _copy_entries(source_fd: int, target_fd: int, linked: dict[tuple[int, int], tuple[int, str]]) -> None:
    """``linked``: where files with several names in this directory were copied to, by device and inode."""
    for name in os.listdir(source_fd):
        info = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o700, dir_fd=target_fd)
            child, copy = _open_directory(source_fd, name), _open_directory(target_fd, name)
            try:
                _copy_entries(child, copy, {})
                _copy_attributes(child, copy)
            finally:
                os.close(child)
                os.close(copy)
        elif info.st_nlink > 1 and (first := linked.get((info.st_dev, info.st_ino))):
            os.link(first[1], name, src_dir_fd=first[0], dst_dir_fd=target_fd, follow_symlinks=False)
        else:
            _copy_file(source_fd, target_fd, name, info)
            linked[info.st_dev, info.st_ino] = (target_fd, name)


def _open_directory(parent_fd: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)


def _copy_file(source_fd: int, target_fd: int, name: str, info: os.stat_result) -> None:
    mode = info.st_mode
    if stat.S_ISREG(mode):
        _copy_regular(source_fd, target_fd, name)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target_fd, follow_symlinks=False)
        os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)
    elif not stat.S_ISSOCK(mode):
        os.mknod(name, mode, info.st_rdev, dir_fd=target_fd)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target_fd, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(mode), dir_fd=target_fd)


def _copy_regular(source_fd: int, target_fd: int, name: str) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=target_fd)
        try:
            _copy_bytes(source, target)
            _copy_attributes(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_bytes(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, _CHUNK_BYTES):
            pass
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        while os.sendfile(target, source, None, _CHUNK_BYTES):
            pass


def _copy_attributes(source: int, target: int) -> None:
    info = os.fstat(source)
    os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(source):
        # Labels are the target's own; overlayfs' marks mean nothing outside of it.
        if not name.startswith(("security.selinux", "trusted.overlay.", "system.")):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
