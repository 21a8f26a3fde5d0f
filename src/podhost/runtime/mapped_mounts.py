"""Root and volumes of a container whose pod has a user namespace: owners are those that the namespace sees."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from podhost.cri.images import RootfsMount
from podhost.cri.runtime import Mount
from podhost.errors import UnavailableError
from podhost.linux import mount
from podhost.linux.user_namespaces import map_mount
from podhost.runtime.settings import BundlePaths


def mount_root(
    bundle: BundlePaths, rootfs: RootfsMount, user_namespace: Path | None, first_id: int, label: str = ""
) -> None:
    """Mount the container's root; ``label`` is that of SELinux for all files in it.  Blocking.

    overlayfs cannot be mapped, but its layers can.  What is written goes into the upper directory with the ids of
    the host, so that the directory itself must belong to the namespace.  Raises OSError.
    """
    options = [mount.build_label_option(label)] if label else []
    if user_namespace is None:
        mount.mount_overlay(bundle.rootfs, rootfs.lower_dirs, rootfs.upper_dir, rootfs.work_dir, options=options)
        return
    info = os.stat(rootfs.lower_dirs[0])
    for directory in (rootfs.upper_dir, rootfs.work_dir):
        os.chown(directory, first_id + info.st_uid, first_id + info.st_gid)
    layers = []
    for index, lower in enumerate(rootfs.lower_dirs):
        layers.append(bundle.mapped / "layers" / str(index))
        map_mount(lower, layers[-1], user_namespace, recursive=False)
    mount.mount_overlay(bundle.rootfs, layers, rootfs.upper_dir, rootfs.work_dir, options=options)
    # The overlay has its own of them.
    for layer in layers:
        mount.unmount(layer)


def expose_mounts(
    bundle: BundlePaths, mounts: Iterable[Mount], user_namespace: Path | None, first_id: int
) -> tuple[Mount, ...]:
    """The same for directories of the container's own, which were filled from its root and have its ids already."""
    if user_namespace is None:
        return tuple(mounts)
    shown = []
    for index, each in enumerate(mounts):
        if os.stat(each.host_path).st_uid == 0:
            os.chown(each.host_path, first_id, first_id)
        target = bundle.mapped / "own" / str(index)
        target.mkdir(parents=True, mode=0o711)
        mount.bind_mount(each.host_path, target)
        shown.append(replace(each, host_path=target))
    return tuple(shown)


def map_mounts(bundle: BundlePaths, mounts: Iterable[Mount], user_namespace: Path | None) -> tuple[Mount, ...]:
    """The same mounts from places where the namespace may see them.  Blocking.  Raises OSError, UnavailableError."""
    if user_namespace is None:
        return tuple(mounts)
    mapped = []
    for index, each in enumerate(mounts):
        target = bundle.mapped / "volumes" / str(index)
        try:
            map_mount(each.host_path, target, user_namespace)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            if not each.no_exec:
                raise UnavailableError(
                    f'cannot show the owners of "{each.container_path}" in a user namespace: this kernel cannot map '
                    "the file system that it is on (tmpfs, as of tokens and secrets, needs Linux 6.3)"
                ) from error
            # An image's overlay cannot be mapped; what everybody may read can be read.
            target.mkdir(parents=True, mode=0o711, exist_ok=True)
            mount.bind_mount(each.host_path, target)
        mapped.append(replace(each, host_path=target))
    return tuple(mapped)
