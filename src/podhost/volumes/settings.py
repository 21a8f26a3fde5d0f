"""What the volumes of one instance need to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSettings:
    """Directories and host capacities, fixed for the daemon's life."""

    pods_dir: Path
    """``<data dir>/pods``; laid out below as the kubelet's ``/var/lib/kubelet/pods``."""
    cpu_millis: int = 0
    """The host's allocatable CPU: what ``resourceFieldRef`` shows without a limit."""
    host_namespace: Path | None = None
    """The mount namespace of the host, whose paths hostPaths are; ``None``: the daemon's own."""
    memory_bytes: int = 0
    """The host's allocatable memory: likewise, and the most a memory-backed emptyDir may take; 0: not known."""
