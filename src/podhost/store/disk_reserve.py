"""Room set aside on the disk for what makes room: deletions.

On a full disk nothing can be written, also not that an object is gone, so nothing could ever be removed through the
API.  A file takes the room while there is some; whoever needs it most removes the file and writes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 4 << 20
_FREE_FACTOR = 8
"""Set aside only where this many times the room is free: it is not to be what fills a disk."""


class DiskReserve:
    """The file; blocking, a few system calls."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def ensure(self) -> bool:
        """Set the room aside, if there is plenty.  Idempotent; a disk without room keeps what it has.

        Returns:
            Whether it is set aside.
        """
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_blocks * 512 >= self._size_bytes:
                return True
            free = os.statvfs(self._path.parent)
            if free.f_bavail * free.f_frsize < self._size_bytes * _FREE_FACTOR:
                return False
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size_bytes)
            finally:
                os.close(fd)
            return True
        return False

    def release(self) -> bool:
        """Give the room back; False when none was set aside."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
