"""ImageService and Snapshotter (CRI v1 ``runtime.v1.ImageService``; containerd's snapshotter idea).

References are normalised as Docker does it: ``nginx`` is ``docker.io/library/nginx:latest``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from podhost.cri.ids import ContainerId, ImageId
from podhost.cri.stats import DiskUsage
from podhost.errors import PodhostError


class ImagePullError(PodhostError):
    """An image cannot be had.  ``reason`` is the kubelet's word for the container's waiting state."""

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["ErrImagePull", "InvalidImageName", "RegistryUnavailable", "SignatureValidationFailed"] = (
            "ErrImagePull"
        ),
    ) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The part of the OCI image configuration that containers start from."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image in the local store."""

    id: ImageId
    repo_tags: tuple[str, ...]
    """Normalised references, ``docker.io/library/nginx:latest``."""
    repo_digests: tuple[str, ...]
    """``docker.io/library/nginx@sha256:…``."""
    size_bytes: int
    """Compressed layers and configuration."""
    created_at: str
    architecture: str
    os: str
    config: ImageConfig
    local_names: tuple[str, ...] = ()
    """Those of ``repo_tags`` that the user loaded or built here; they win over a default pull."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Credentials for one registry."""

    username: str = ""
    password: str = ""
    server_address: str = ""
    identity_token: str = ""
    """A refresh token of OAuth2, which some registries give at a login in place of a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """State of a running pull, as often as it changes.  ``total_bytes`` is 0 while unknown."""

    ref: str
    phase: Literal["resolving", "downloading", "unpacking", "done", "failed"]
    done_bytes: int = 0
    total_bytes: int = 0
    layers_done: int = 0
    layers_total: int = 0


ProgressCallback = Callable[[PullProgress], None]


class ImageService(Protocol):
    """The machine's image store."""

    def image_status(self, ref: str) -> Image | None:
        """The image of a name, digest reference or id, from memory; ``None`` when it is not here."""

    def list_images(self) -> list[Image]: ...

    async def pull_image(
        self,
        ref: str,
        *,
        auths: tuple[AuthConfig, ...] = (),
        progress: ProgressCallback | None = None,
    ) -> Image:
        """Fetch and unpack.  Concurrent pulls of one reference share the work.

        Raises:
            ImagePullError: With the registry's own words.
        """

    def subscribe_pulls(self, callback: ProgressCallback) -> Callable[[], None]:
        """Tell the state of every running pull now and whenever it changes, whoever asked for the image.

        Returns what ends it.  ``failed`` is told here only: who asked for the pull gets the error.
        """

    async def load_image(
        self, source: str, *, name: str | None = None, progress: ProgressCallback | None = None
    ) -> list[Image]:
        """Import from any skopeo transport (``docker-archive:FILE`` …); marks the names as local."""

    async def build_image(
        self,
        context: Path,
        *,
        name: str,
        containerfile: Path | None = None,
        output: Callable[[bytes], None] | None = None,
    ) -> Image:
        """Build with buildah, then import.  Raises UnavailableError without buildah."""

    async def tag_image(self, source: str, name: str) -> Image: ...

    async def remove_image(self, ref: str) -> None:
        """Forget a name, and the image with its last one.  Raises NotFoundError, ConflictError (in use)."""

    async def prune(self) -> tuple[int, int]:
        """Remove unnamed and unused images and layers; returns (images removed, bytes freed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootfsMount:
    """An overlay mount, as data.  Directories exist; nothing is mounted yet."""

    lower_dirs: tuple[Path, ...]
    """Top layer first."""
    upper_dir: Path
    work_dir: Path


class Snapshotter(Protocol):
    """Writable root file systems on top of unpacked images; each holds a lease on its image."""

    async def prepare(self, container_id: ContainerId, image_id: ImageId) -> RootfsMount:
        """Directories for a container's root.  Idempotent.  Raises NotFoundError when the image is gone."""

    async def remove(self, container_id: ContainerId) -> None:
        """Delete the writable layer and the lease.  Idempotent."""

    async def measure(self, container_id: ContainerId) -> DiskUsage:
        """What the writable layer takes up; nothing when there is none."""

    async def list_keys(self) -> set[ContainerId]:
        """Containers that have a snapshot, for the start-up sweep."""
