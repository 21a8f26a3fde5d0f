"""A pod's directory on the host: applying plans to it, and removing it.  Blocking; called in threads.

::

    <pods dir>/<uid>/volumes/kubernetes.io~<kind>/<volume>
    <pods dir>/<uid>/volume-subpaths/<volume>/<container>/<index of the volumeMount>

``volumes/<kind>`` and ``volume-subpaths`` are private mounts where mounts of the host are cloned below them, so that
these can be taken away without the host's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.cri.volumes import MountedVolume
from podhost.linux import fs, mount
from podhost.volumes import atomic_writer, claim, empty_dir, host_path, image_volume
from podhost.volumes.plan import (
    ClaimPlan,
    EmptyDirPlan,
    FilesPlan,
    HostPathPlan,
    ImagePlan,
    VolumePlan,
    compute_directory,
)

_HOST_PATH_CHECKED = failpoint.register("volumes.mount.03-host-path-checked")
_SUB_PATHS_UNMOUNTED = failpoint.register("volumes.unmount.01-sub-paths-unmounted")
_VOLUMES_UNMOUNTED = failpoint.register("volumes.unmount.02-volumes-unmounted")
_REMOVED = failpoint.register("volumes.unmount.03-removed")

VOLUMES = "volumes"
SUB_PATHS = "volume-subpaths"


def apply_plan(pod_dir: Path, plan: VolumePlan, host_namespace: Path | None = None) -> MountedVolume:
    """Make one volume as planned; what is there already stays.  ``host_namespace`` has the mounts of the host.

    Raises:
        VolumeError: A hostPath of the wrong type, a file path out of the volume.
        OSError: From the kernel.
    """
    directory = pod_dir / compute_directory(plan)
    if isinstance(plan, HostPathPlan | ClaimPlan):
        path, origin = host_path.expose(plan, directory, host_namespace)
        failpoint.hit(_HOST_PATH_CHECKED)
        if isinstance(plan, ClaimPlan):
            claim.apply_fs_group(plan, path)
        # What is in a claim is the pod's as long as it uses it; what is the host's keeps its labels.
        relabel = isinstance(plan, ClaimPlan) and not plan.read_only
        return MountedVolume(name=plan.name, host_path=path, read_only=plan.read_only, origin=origin, relabel=relabel)
    # Other users of the host must not walk into volumes that anybody may write to.
    pod_dir.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    _apply_own(plan, directory)
    if plan.propagates:
        _share(directory)
    read_only = not isinstance(plan, EmptyDirPlan)
    is_image = isinstance(plan, ImagePlan)
    return MountedVolume(
        name=plan.name, host_path=directory, read_only=read_only, no_exec=is_image, relabel=not is_image
    )


def _apply_own(plan: EmptyDirPlan | FilesPlan | ImagePlan, directory: Path) -> None:
    if isinstance(plan, ImagePlan):
        image_volume.apply_plan(plan, directory)
    elif isinstance(plan, EmptyDirPlan):
        empty_dir.apply_plan(plan, directory)
    else:
        _apply_files(plan, directory)


def _share(directory: Path) -> None:
    """Copies of a mount are peers only where the mount itself is shared: a directory becomes a mount of its own."""
    if not mount.is_mount_point(directory):
        mount.bind_mount(directory, directory, recursive=False)
    mount.make_shared(directory, recursive=False)


def _apply_files(plan: FilesPlan, directory: Path) -> None:
    if plan.in_memory:
        wrapped = EmptyDirPlan(name=plan.name, in_memory=True, mode=0o1777, fs_group=plan.fs_group)
        empty_dir.ensure_tmpfs(directory, wrapped)
    else:
        empty_dir.ensure_disk_directory(directory, 0o777, plan.fs_group, read_only=True)
    atomic_writer.write_payload(directory, plan.payload, fs_group=plan.fs_group)


def has_volumes(pod_dir: Path) -> bool:
    """Whether anything of volumes is left in a pod's directory."""
    return (pod_dir / VOLUMES).exists() or (pod_dir / SUB_PATHS).exists()


def remove_volumes(pod_dir: Path) -> None:
    """Unmount and delete all volumes of a pod, and its directory when nothing else is in it.  Idempotent.

    Works on what the disk shows, so that it also serves for pods of which nothing is known any more.  Contents
    of hostPaths are never touched: mounts go first, and the removal does not cross one that stayed.

    Raises:
        OSError: Something cannot be unmounted or deleted.
    """
    for path in (pod_dir / SUB_PATHS, *_children(pod_dir / VOLUMES, depth=1)):
        _unmount_all(path)
    for path in _children(pod_dir / SUB_PATHS, depth=3):
        _unmount_all(path)
    failpoint.hit(_SUB_PATHS_UNMOUNTED)
    for path in _children(pod_dir / VOLUMES, depth=2):
        _unmount_all(path)
    failpoint.hit(_VOLUMES_UNMOUNTED)
    for name in (SUB_PATHS, VOLUMES):
        _remove(pod_dir, name)
    failpoint.hit(_REMOVED)
    try:
        pod_dir.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _children(top: Path, depth: int) -> Iterator[Path]:
    """Everything ``depth`` levels below ``top``, without following symlinks."""
    try:
        entries = list(os.scandir(top))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if depth == 1:
            yield top / entry.name
        elif entry.is_dir(follow_symlinks=False):
            yield from _children(top / entry.name, depth - 1)


def _unmount_all(path: Path) -> None:
    while mount.is_mount_point(path):
        mount.unmount_alone(path)


def _remove(pod_dir: Path, name: str) -> None:
    try:
        fs.remove_tree(pod_dir / name)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        # A mount deeper down, made by a container with Bidirectional propagation.
        mount.unmount_tree(pod_dir / name)
        fs.remove_tree(pod_dir / name)
