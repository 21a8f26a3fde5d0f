"""Standard files that an OCI runtime may do with as it likes, and ``/dev/null`` after one that did.

Until August 2025 crun gave its standard files to the user of the process that it starts, also where one is the host's
``/dev/null`` (crun#1845), and so did runc 1.1.0 to 1.1.4 (runc#3707).  Its new owner could then close it to everybody.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from podhost.linux import syscalls as sys

_NUMBER = os.makedev(1, 3)
_MODE = 0o666


def open_empty_file() -> int:
    """A descriptor that reads as ``/dev/null`` does, is nobody else's, and stays empty.  Raises OSError."""
    fd = os.memfd_create("null", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
    return fd


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
