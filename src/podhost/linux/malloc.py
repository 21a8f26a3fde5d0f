"""glibc's allocator: how many arenas it makes, and memory that it keeps.  Elsewhere nothing happens."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8


def limit_arenas(number: int) -> None:
    """At most so many arenas for all threads together; before there are threads."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, number)


def trim() -> None:
    """Give free memory back to the kernel.  Blocking, for milliseconds; releases the GIL."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
