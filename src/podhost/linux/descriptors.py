"""How many files this process may have open."""

from __future__ import annotations

import resource


def read_descriptor_limit() -> int:
    """The soft limit (``ulimit -n``)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
