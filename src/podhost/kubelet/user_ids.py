"""Which ids of the host a pod's user namespace has.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

_COUNT = 65536
_RANGES = (1 << 31) // _COUNT - 2
"""Beside the first, which is the host's own.  Not above 2^31: not every program takes such ids."""


def choose_first_id(uid: str, taken: Collection[int]) -> int:
    """A range of its own; the same for a pod whenever it is free, and mostly another one in each instance.

    Raises:
        ValueError: All are taken.
    """
    start = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big")
    for step in range(_RANGES):
        first = (1 + (start + step) % _RANGES) * _COUNT
        if first not in taken:
            return first
    raise ValueError("cannot give a pod a user namespace: all ranges of ids are taken")
