"""Where images live on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """Paths and limits of the image store; the store is shared by all instances, the writable layers are not."""

    root: Path
    """Shared store, for example ``/var/lib/podhost/_images``."""
    instance: str
    """Name of this instance; leases are kept under it."""
    layers_dir: Path
    """Writable container layers of this instance, for example ``/var/lib/podhost/default/layers``."""
    max_parallel_pulls: int = 3
    pull_idle_limit_s: float = 300.0
    """A pull for which nothing arrives during that time is given up; containerd's ``image_pull_progress_timeout``."""
    orphan_age_s: float = 86_400.0
    """Blobs that no image names are kept this long at start-up, so that a broken pull can be resumed."""
    skopeo: str = "skopeo"
    buildah: str = "buildah"
