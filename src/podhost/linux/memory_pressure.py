"""How much memory is left, and the kernel's word that there is too little (pressure stall information)."""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)

_FILE = Path("/proc/pressure/memory")
_TRIGGER = b"some 200000 2000000\0"
"""Tasks waited for memory for a tenth of two seconds, the shortest time that needs no CAP_SYS_RESOURCE."""


def read_available_bytes(meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """(available, total) as the kubelet counts: page cache in use is not available, idle cache is.

    Raises OSError, ValueError.
    """
    values = {}
    for line in meminfo.read_text().splitlines():
        name, _, value = line.partition(":")
        values[name] = int(value.split()[0]) * 1024
    total = values["MemTotal"]
    cache = values["Cached"] + values["Buffers"] + values["SwapCached"]
    used = values["AnonPages"] + cache - values["Inactive(file)"]
    return max(0, total - max(0, used)), total


class MemoryStallWatch:
    """Calls back while tasks wait for memory, at most every two seconds.  Where the kernel does not count, never."""

    def __init__(self, on_stall: Callable[[], None], file: Path = _FILE) -> None:
        self._on_stall = on_stall
        self._file = file
        self._fd = -1
        self._epoll: select.epoll | None = None

    @property
    def is_watching(self) -> bool:
        return self._epoll is not None

    def start(self) -> None:
        """Idempotent."""
        if self.is_watching:
            return
        try:
            self._fd = os.open(self._file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._fd, _TRIGGER)
            # The loop waits for readable descriptors only; this one tells by priority data.
            self._epoll = select.epoll()
            self._epoll.register(self._fd, select.EPOLLPRI)
        except OSError as error:
            _log.info("the kernel does not tell of memory pressure, it is looked at now and then: %s", error)
            self.stop()
            return
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._on_event)

    def stop(self) -> None:
        """Idempotent."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _on_event(self) -> None:
        assert self._epoll is not None
        # The kernel tells an event once, and has told it to the loop's own poll: nothing here means yes as well.
        if any(event & select.EPOLLERR for _, event in self._epoll.poll(0)):
            self.stop()
            return
        self._on_stall()
