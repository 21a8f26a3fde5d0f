"""Paths given by users or containers, resolved beneath a root by the kernel.

Either absolute paths and ``..`` stay within the root, as after a chroot, and magic links
(``/proc/self/fd/…``) are refused; or no link is followed at all.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from podhost.linux import syscalls as sys

_RESOLVE = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS
_NO_LINKS = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_SYMLINKS
_ATTEMPTS = 128


def open_beneath(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open ``path`` as if ``root_fd`` were ``/``; the descriptor is close-on-exec.

    Raises:
        OSError: ELOOP for a magic link; EAGAIN when the tree is renamed under us without end.
    """
    for _ in range(_ATTEMPTS):
        try:
            return sys.openat2(root_fd, path or ".", flags, mode, _RESOLVE)
        except BlockingIOError:
            # A rename somewhere while ".." was resolved: the kernel asks to try again.
            continue
    raise BlockingIOError(errno.EAGAIN, "the path keeps changing while it is resolved", path)


def open_without_links(root_fd: int, path: str, flags: int) -> int:
    """Open ``path`` beneath ``root_fd``; no component may be a symlink (ELOOP) or lead upwards (EXDEV)."""
    return sys.openat2(root_fd, path or ".", flags, 0, _NO_LINKS)


def mkdir_without_links(root_fd: int, path: str, mode: int) -> int:
    """Make ``path`` and what is missing of its parents; returns an O_PATH descriptor of the directory.

    ``mode`` is set exactly, whatever the umask, on what is made here; existing directories stay as they are.
    Raises OSError (ENOTDIR when a component is a file or a symlink, EXDEV when one leads upwards).
    """
    fd = open_without_links(root_fd, ".", os.O_PATH | os.O_DIRECTORY)
    for part in Path(path).parts:
        try:
            next_fd = _open_or_make(fd, part, mode)
        finally:
            os.close(fd)
        fd = next_fd
    return fd


def _open_or_make(parent_fd: int, name: str, mode: int) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return open_without_links(parent_fd, name, flags)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        # Made by somebody else meanwhile.
        return open_without_links(parent_fd, name, flags)
    fd = open_without_links(parent_fd, name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fchmod(fd, mode)
        return open_without_links(fd, ".", flags)
    finally:
        os.close(fd)


def read_file_beneath(root: Path, path: str, max_bytes: int) -> bytes:
    """First ``max_bytes`` of a regular file beneath ``root``.

    Raises:
        OSError: Among others EINVAL when it is no regular file (a fifo would block for ever).
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(root_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    with os.fdopen(fd, "rb") as file:
        return file.read(max_bytes)
