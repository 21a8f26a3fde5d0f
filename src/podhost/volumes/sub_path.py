"""subPath: a part of a volume, held by a mount so that nobody can exchange it afterwards.

As in the kubelet, symlinks are followed as the host sees them, and must end within the volume.  What they led to
is then opened by a path in which the kernel follows none, and mounted by its descriptor on a place that containers
cannot reach; the container is given that mount.  A symlink put in the way meanwhile is an error, one put there
later changes nothing (CVE-2021-25741 and its kin).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.cri.runtime import MountOrigin
from podhost.cri.volumes import VolumeError
from podhost.linux import mount, paths

_TARGET_MADE = failpoint.register("volumes.subpath.01-target-made")
_MOUNTED = failpoint.register("volumes.subpath.02-mounted")


def check_sub_path(path: str) -> None:
    """Raises VolumeError with the kubelet's text for a path that is absolute or goes up."""
    if path.startswith("/"):
        raise VolumeError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise VolumeError(f"unable to provision SubPath `{path}`: must not contain '..'")


def mount_sub_path(root: Path, path: str, target: Path, *, origin: MountOrigin | None = None) -> Path:
    """Mount ``path`` beneath ``root`` on ``target``, which is made and returned.  Idempotent.

    What is missing of the path is made as directories with the permissions of the volume's root.  A mount that
    is there already stays if it shows what the path leads to now (a restarted container gets the new file of
    an updated configMap; a running one keeps its own).  ``root`` may be a clone of ``origin``, which absolute links
    in it then mean.  Where its mounts are the host's too, none is taken away, and the new one has a place beside.

    Raises:
        VolumeError: The path leads out of the volume.
        OSError: The path cannot be opened or made, or not be mounted.
    """
    if "\0" in path:
        raise VolumeError(f"cannot open {path!r}: invalid argument")
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source_fd = _open_or_make(root_fd, _resolve(root, path, origin))
    finally:
        os.close(root_fd)
    try:
        info = os.fstat(source_fd)
        place = target
        while mount.is_mount_point(place):
            if _is_same_file(place, info):
                return place
            if origin is not None and origin.is_shared:
                place = place.with_name(f"{place.name}+")
            else:
                mount.unmount(place)
        target = place
        _make_target(target, directory=stat.S_ISDIR(info.st_mode))
        failpoint.hit(_TARGET_MADE)
        mount.bind_mount_fd(source_fd, target)
        failpoint.hit(_MOUNTED)
        return target
    finally:
        os.close(source_fd)


def _resolve(root: Path, path: str, origin: MountOrigin | None) -> str:
    """``path`` without symlinks, relative to ``root``; what is missing of it stays as it is."""
    real_root, real = os.path.realpath(root), os.path.realpath(root / path)
    names = (real_root,) if origin is None else (real_root, str(origin.path))
    for name in names:
        if os.path.commonpath([name, real]) == name:
            return os.path.relpath(real, name)
    raise VolumeError(f'subpath "{real}" not within volume path "{names[-1]}"')


def _open_or_make(root_fd: int, path: str) -> int:
    try:
        return paths.open_without_links(root_fd, path, os.O_PATH)
    except FileNotFoundError:
        # With fsGroup it hands the group on to what is made in it.
        mode = stat.S_IMODE(os.fstat(root_fd).st_mode) & 0o2777
        return paths.mkdir_without_links(root_fd, path, mode)


def _is_same_file(target: Path, info: os.stat_result) -> bool:
    mounted = os.lstat(target)
    return (mounted.st_dev, mounted.st_ino) == (info.st_dev, info.st_ino)


def _make_target(target: Path, *, directory: bool) -> None:
    """An empty directory or file to mount on; one of the other sort is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    try:
        is_directory = stat.S_ISDIR(os.lstat(target).st_mode)
    except FileNotFoundError:
        pass
    else:
        if is_directory == directory:
            return
        if is_directory:
            target.rmdir()
        else:
            target.unlink()
    if directory:
        target.mkdir(mode=0o750)
    else:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
