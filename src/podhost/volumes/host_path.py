"""hostPath: a path of the host, checked as the kubelet checks it.

The daemon's mount namespace follows the host's but where a mount of the host is private, and nothing goes back
(``docs/decisions/0003``).  What is to propagate, or is not followed, is therefore cloned where it is, in the host's
namespace: the clone of a shared mount is its peer.  It is mounted in the pod's directory, out of the host's sight.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path

from podhost.api import models
from podhost.cri.runtime import MountOrigin
from podhost.cri.volumes import VolumeError
from podhost.linux import mount
from podhost.linux.namespaces import run_in_namespace, unshare_mounts
from podhost.volumes.plan import ClaimPlan, HostPathPlan

_DESCRIPTIONS = {
    "Directory": "directory",
    "File": "file",
    "Socket": "socket file",
    "CharDevice": "character device",
    "BlockDevice": "block device",
}
_MAKES = {"DirectoryOrCreate": "Directory", "FileOrCreate": "File"}
_KINDS = {
    stat.S_IFDIR: "Directory",
    stat.S_IFREG: "File",
    stat.S_IFSOCK: "Socket",
    stat.S_IFCHR: "CharDevice",
    stat.S_IFBLK: "BlockDevice",
}


def compute_plan(name: str, source: models.HostPathVolumeSource, *, read_only: bool = False) -> HostPathPlan:
    """Plan of one hostPath.

    Raises:
        VolumeError: A path with ``..``, or a type that does not exist.
    """
    if ".." in source.path.split("/"):
        raise VolumeError(f"invalid HostPath `{source.path}`: must not contain '..'")
    if source.type and source.type not in (*_DESCRIPTIONS, *_MAKES):
        raise VolumeError(f"{source.type} is an invalid volume type")
    return HostPathPlan(name=name, path=source.path, type=source.type or "", read_only=read_only)


def expose(plan: HostPathPlan | ClaimPlan, directory: Path, host: Path | None) -> tuple[Path, MountOrigin | None]:
    """Where the daemon sees the path of the host, and for a clone what it is one of.

    ``host`` is the host's mount namespace.  ``directory`` is made and mounted on when our own view will not do.

    Raises:
        VolumeError: A hostPath of another type, with the kubelet's text.
        OSError: It cannot be made, or not be mounted.
    """
    path = Path(plan.path)
    if host is None or (not plan.propagates and _is_followed(path)):
        check_path(plan)
        return path, None
    present = mount.find_mount(directory).propagation if mount.is_mount_point(directory) else None
    origin, tree_fd = run_in_namespace(host, "mnt", lambda: _clone(plan, path, present))
    if tree_fd is not None and not _attach(tree_fd, directory):
        tree_fd = run_in_namespace(host, "mnt", lambda: _clone_without_namespaces(path))
        if not _attach(tree_fd, directory):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return directory, origin


def _attach(tree_fd: int, directory: Path) -> bool:
    """Mount the clone; False when a mount namespace is pinned in it, which might come to hold itself."""
    try:
        _make_place(directory, is_directory=stat.S_ISDIR(os.stat(tree_fd).st_mode))
        mount.attach_tree(tree_fd, directory)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False
    finally:
        os.close(tree_fd)
    return True


def _clone_without_namespaces(path: Path) -> int:
    """In the host's namespace.  A copy of it has no mount namespaces pinned in it, and the same peers."""
    unshare_mounts()
    return mount.clone_tree(path)


def _is_followed(path: Path) -> bool:
    """Whether our view of the path shows what the host mounts and unmounts later."""
    return _has(mount.find_mount(path).propagation, "master")


def _clone(
    plan: HostPathPlan | ClaimPlan, path: Path, present: Collection[str] | None
) -> tuple[MountOrigin, int | None]:
    """In the host's namespace.  ``present`` is the propagation of the clone that is there."""
    check_path(plan)
    found = mount.find_mount(path)
    is_shared = _has(found.propagation, "shared")
    is_slave = _has(found.propagation, "master")
    origin = MountOrigin(path=path.resolve(), mount_point=found.mount_point, is_shared=is_shared, is_slave=is_slave)
    # One from before the host's mount was shared is no peer; the new one lies on top of it.
    wanted = present is None or (is_shared and not _has(present, "shared"))
    return origin, mount.clone_tree(path) if wanted else None


def _has(propagation: Collection[str], kind: str) -> bool:
    return any(word.startswith(f"{kind}:") for word in propagation)


def _make_place(directory: Path, *, is_directory: bool) -> None:
    """An empty directory or file to mount on."""
    directory.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    mount.ensure_private_mount(directory.parent)
    if is_directory:
        directory.mkdir(mode=0o750, exist_ok=True)
    else:
        directory.touch(mode=0o640)


def check_path(plan: HostPathPlan | ClaimPlan) -> None:
    """Check the path, and make it where its type says so.

    Without a type a missing path becomes a directory, as container runtimes do it under a kubelet.

    Raises:
        VolumeError: It is missing, or of another type.
        OSError: It cannot be made.
    """
    path = Path(plan.path)
    if isinstance(plan, ClaimPlan):
        if not path.is_dir():
            raise VolumeError(f'path "{path}" does not exist')
        return
    wanted = _MAKES.get(plan.type, plan.type)
    if plan.type in ("", *_MAKES) and not path.exists():
        _make(path, is_file=wanted == "File")
    elif wanted:
        _check_type(path, wanted)


def _make(path: Path, *, is_file: bool) -> None:
    if is_file:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    else:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)


def _check_type(path: Path, wanted: str) -> None:
    described = _DESCRIPTIONS[wanted]
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError as error:
        raise VolumeError(f"hostPath {path} doesn't exist") from error
    if kind is None:
        raise VolumeError(
            f"hostPath type check failed, {path} is not a {described}, unable to determine its type: "
            "only recognise file, directory, socket, block device and character device"
        )
    if kind != wanted:
        raise VolumeError(f"hostPath type check failed: {path} is not a {described}, it's a {kind}")
