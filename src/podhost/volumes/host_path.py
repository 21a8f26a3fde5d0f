"""hostPath: a path of the host, checked as the kubelet checks it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from podhost.api import models
from podhost.cri.volumes import VolumeError
from podhost.volumes.plan import HostPathPlan

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (lambda mode: not stat.S_ISDIR(mode), "a file"),
    "FileOrCreate": (lambda mode: not stat.S_ISDIR(mode), "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def compute_plan(name: str, source: models.HostPathVolumeSource, *, read_only: bool = False) -> HostPathPlan:
    """Plan of one hostPath.

    Raises:
        VolumeError: A path with ``..``, or a type that does not exist.
    """
    if ".." in source.path.split("/"):
        raise VolumeError(f"invalid HostPath `{source.path}`: must not contain '..'")
    if source.type and source.type not in _CHECKS:
        raise VolumeError(f"{source.type} is an invalid volume type")
    return HostPathPlan(name=name, path=source.path, type=source.type or "", read_only=read_only)


def apply_plan(plan: HostPathPlan) -> None:
    """Check the path, and make it where its type says so.

    Without a type a missing path becomes a directory, as container runtimes do it under a kubelet.

    Raises:
        VolumeError: It is of another type, with the kubelet's text.
        OSError: It cannot be made.
    """
    path = Path(plan.path)
    try:
        mode: int | None = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    if mode is None and plan.type in ("", "DirectoryOrCreate"):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    if mode is None and plan.type == "FileOrCreate":
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        return
    if plan.type:
        matches, wanted = _CHECKS[plan.type]
        if mode is None or not matches(mode):
            raise VolumeError(f"hostPath type check failed: {plan.path} is not {wanted}")
