"""The audit log on disk: a bounded queue, and a thread that writes.  The event loop never waits for the disk."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from podhost.linux.rotating_file import RotatingFile

Obj = dict[str, Any]

_CAPACITY = 10_000
_BATCH = 500
_CLOSE_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class AuditLog:
    """Events as lines of JSON.  What comes faster than the disk takes it is dropped, and the log says so."""

    def __init__(self, write: Callable[[bytes], None], *, capacity: int = _CAPACITY) -> None:
        """``write`` is called in the log's thread, with whole lines; it may raise OSError."""
        self._write = write
        self._queue: queue.Queue[Obj | None] = queue.Queue(capacity)
        self._dropped = 0
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="audit-log", daemon=True)

    @classmethod
    def open(cls, path: Path, *, max_bytes: int, max_backups: int, max_age_days: int) -> AuditLog:
        """A log in a file that is rotated.  Raises OSError."""
        file = RotatingFile(path, max_bytes=max_bytes, max_backups=max_backups, max_age_days=max_age_days)
        return cls(file.write)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what is there, and end; a disk that takes nothing is not waited for.  Blocks."""
        try:
            self._queue.put(None, timeout=_CLOSE_TIMEOUT_S)
        except queue.Full:
            return
        self._thread.join(_CLOSE_TIMEOUT_S)

    def record(self, event: Obj) -> None:
        """To be written soon; dropped when too many are waiting."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            if not self._dropped:
                _log.warning("the audit log cannot keep up: events are dropped")
            self._dropped += 1

    def _run(self) -> None:
        while self._run_once():
            pass

    def _run_once(self) -> bool:
        """Write what waits, at least one event; false when that was the last."""
        batch = [self._queue.get()]
        while len(batch) < _BATCH and not self._queue.empty():
            batch.append(self._queue.get())
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in batch if event is not None)
        if lines:
            self._write_lines(lines)
        return None not in batch

    def _write_lines(self, lines: bytes) -> None:
        try:
            self._write(lines)
        except OSError as error:
            if not self._failing:
                _log.error("cannot write the audit log: %s", error)
            self._failing = True
            return
        self._failing = False
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            _log.warning("the audit log has dropped %d events", dropped)
