"""Anonymous volumes: a directory of its own for each path that an image declares with ``VOLUME``.

As containerd does it: what the image has there is copied up, the directory is writable even where the root is
not, and it goes with the container.  A path at which the pod mounts something gets none.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from podhost.cri.runtime import Mount
from podhost.linux.copy_tree import copy_directory
from podhost.linux.paths import open_beneath


def choose_volume_paths(declared: Iterable[str], mounts: Iterable[Mount]) -> list[str]:
    """Absolute paths, each once, that need a volume.  Pure."""
    taken = {_clean(mount.container_path) for mount in mounts} | {"/"}
    wanted = dict.fromkeys(_clean(path) for path in declared)
    return [path for path in wanted if path not in taken]


def ensure_image_volumes(
    rootfs: Path, directory: Path, declared: Iterable[str], mounts: tuple[Mount, ...]
) -> tuple[Mount, ...]:
    """Make the volumes below ``directory``, which is removed with the container.  Blocking.

    Raises:
        OSError: One cannot be made or filled.
    """
    made = []
    for index, path in enumerate(choose_volume_paths(declared, mounts)):
        volume = directory / str(index)
        volume.mkdir(parents=True, mode=0o755)
        volume.chmod(0o755)
        _copy_up(rootfs, path, volume)
        made.append(Mount(container_path=path, host_path=volume, relabel=True))
    return tuple(made)


def _copy_up(rootfs: Path, path: str, volume: Path) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    root_fd = os.open(rootfs, flags)
    try:
        source_fd = open_beneath(root_fd, path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        os.close(root_fd)
    target_fd = os.open(volume, flags)
    try:
        copy_directory(source_fd, target_fd)
    finally:
        os.close(source_fd)
        os.close(target_fd)


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))
