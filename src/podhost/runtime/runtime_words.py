"""Reads what an OCI runtime says during ``create``, so that one that says much is not stuck.

conmon reads its stderr only after its end, so one that writes more than the pipe holds (64 KiB) would never end.
"""

from __future__ import annotations

import asyncio
import os
from types import TracebackType

from podhost.linux.proc import open_stderr_of_child

KEPT_BYTES = 8192
"""As much as conmon itself would tell."""
_READ_BYTES = 16 << 20
"""No more is read; who writes on waits for its time limit."""
_CHUNK_BYTES = 1 << 16


class RuntimeWords:
    """The beginning of what was written to the stderr of conmon's child; reads between :meth:`open` and the exit."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._kept = bytearray()
        self._read_bytes = 0

    def __enter__(self) -> RuntimeWords:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd is not None:
            self._stop()
            os.close(self._fd)
            self._fd = None

    @property
    def text(self) -> str:
        """What was kept; empty when conmon has read it all."""
        return self._kept.decode(errors="replace")

    async def open(self, monitor_pid: int) -> None:
        """Begin to read, if conmon has a child by now.  Idempotent."""
        if self._fd is None:
            self._fd = await asyncio.to_thread(open_stderr_of_child, monitor_pid)
            if self._fd is not None:
                asyncio.get_running_loop().add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        assert self._fd is not None
        try:
            chunk = os.read(self._fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        self._read_bytes += len(chunk)
        self._kept += chunk[: KEPT_BYTES - len(self._kept)]
        if not chunk or self._read_bytes >= _READ_BYTES:
            self._stop()

    def _stop(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
