"""A file that only grows, put aside when it is too large, as the log libraries of Go do it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path


class RotatingFile:
    """Lines in ``audit.log``; older ones in ``audit-2026-01-01T00-00-00.000.log``.  Blocks: for a thread of its own."""

    def __init__(self, path: Path, *, max_bytes: int, max_backups: int, max_age_days: int = 0) -> None:
        """``max_backups`` old files are kept, and none that is older than ``max_age_days``; 0 keeps all.

        Raises:
            OSError: It cannot be opened.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._max_age_days = max_age_days
        self._fd = -1
        self._size_bytes = 0
        self._open()

    def write(self, data: bytes) -> None:
        """All of it into one file.  Raises OSError."""
        if self._fd < 0:
            self._open()
        if self._size_bytes and self._size_bytes + len(data) > self._max_bytes:
            self._rotate()
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]
        self._size_bytes += len(data)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size_bytes = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        now = datetime.now(UTC)
        self._path.rename(self._backup_of(now))
        self._open()
        backups = self._list_backups()
        too_many = backups[: -self._max_backups] if self._max_backups else []
        eldest = self._backup_of(now - timedelta(days=self._max_age_days)) if self._max_age_days else Path()
        for old in {*too_many, *(each for each in backups if each < eldest)}:
            old.unlink(missing_ok=True)

    def _backup_of(self, moment: datetime) -> Path:
        return self._path.with_name(f"{self._path.stem}-{moment:%Y-%m-%dT%H-%M-%S.%f}{self._path.suffix}")

    def _list_backups(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._path.parent.glob(f"{self._path.stem}-????-??-??T*{self._path.suffix}"))
