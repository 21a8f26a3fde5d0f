"""Standard files that an OCI runtime may do with as it likes, and ``/dev/null`` after one that did.

Until August 2025 crun gave its standard files to the user of the process that it starts, also where one is the host's
``/dev/null`` (crun#1845), and so did runc 1.1.0 to 1.1.4 (runc#3707).  Its new owner could then close it to everybody.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from podhost.linux import mount
from podhost.linux import syscalls as sys

_NUMBER = os.makedev(1, 3)
_MODE = 0o666
_SIZE_BYTES = 65536
_LABEL = "security.selinux"


def open_empty_file() -> int:
    """A descriptor that reads as ``/dev/null`` does, is nobody else's, and stays empty.  Raises OSError."""
    fd = os.memfd_create("null", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
    return fd


def cover_null_device(scratch: Path) -> None:
    """Mount a null device of our own on ``/dev/null``, for this mount namespace: the host's is out of reach then.

    ``scratch`` is a directory to make and remove.  On failure nothing is mounted.

    Raises:
        OSError: Devices cannot be made here, or not be opened.
    """
    scratch.mkdir(mode=0o700, exist_ok=True)
    try:
        mount.mount_tmpfs(scratch, size_bytes=_SIZE_BYTES, mode=0o755)
        try:
            node = scratch / "null"
            os.mknod(node, stat.S_IFCHR | _MODE, _NUMBER)
            node.chmod(_MODE)  # whatever the umask
            _copy_label(Path(os.devnull), node)
            os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
            mount.bind_mount(node, Path(os.devnull), recursive=False)
        finally:
            mount.unmount(scratch)
    finally:
        scratch.rmdir()


def _copy_label(source: Path, target: Path) -> None:
    """SELinux lets containers use what is labelled as the null device."""
    with suppress(OSError):
        os.setxattr(target, _LABEL, os.getxattr(source, _LABEL))


def restore_null_device(root: Path) -> None:
    """Give ``/dev/null`` below ``root`` back to root, if it is the null device and not root's.

    Links in it do not lead out of ``root``.

    Raises:
        OSError: There is none, or its file system is read-only.
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = sys.openat2(root_fd, "dev/null", flags, 0, sys.RESOLVE_IN_ROOT)
    finally:
        os.close(root_fd)
    try:
        found = os.fstat(fd)
        is_null = stat.S_ISCHR(found.st_mode) and found.st_rdev == _NUMBER
        if is_null and (found.st_uid, found.st_gid) != (0, 0):
            # Owner first: until then it may change the mode.
            os.chown(f"/proc/self/fd/{fd}", 0, 0)
            os.chmod(f"/proc/self/fd/{fd}", _MODE)
    finally:
        os.close(fd)
