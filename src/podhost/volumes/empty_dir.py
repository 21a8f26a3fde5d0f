"""emptyDir: a directory that lives and dies with its pod."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.api import models
from podhost.api.quantity import quantity_to_int
from podhost.cri.volumes import VolumeError
from podhost.linux import fs, mount
from podhost.volumes.ownership import apply_fs_group, compute_mode
from podhost.volumes.plan import EmptyDirPlan

_DIRECTORY_MADE = failpoint.register("volumes.mount.01-empty-dir-made")
_TMPFS_MOUNTED = failpoint.register("volumes.mount.02-tmpfs-mounted")

HUGE_PAGES = "HugePages"
_PAGE_RESOURCE = "hugepages-"

_TMPFS_MODE = 0o1777
"""The kernel's default, which the kubelet leaves as it is: a memory-backed emptyDir is ``drwxrwxrwt``."""


def compute_plan(
    pod: models.Pod, name: str, source: models.EmptyDirVolumeSource, *, host_memory_bytes: int
) -> EmptyDirPlan:
    """Plan of one emptyDir.

    Raises:
        VolumeError: A medium that is not offered.
    """
    medium = source.medium or ""
    has_pages = medium == HUGE_PAGES or medium.startswith(f"{HUGE_PAGES}-")
    if medium not in ("", "Memory") and not has_pages:
        raise VolumeError(f'unknown storage medium "{medium}"')
    in_memory = source.medium == "Memory"
    default_mode = _TMPFS_MODE if in_memory else 0o777
    security = pod.spec.security_context
    return EmptyDirPlan(
        name=name,
        in_memory=in_memory,
        page_bytes=compute_page_bytes(pod, medium) if has_pages else None,
        size_bytes=compute_memory_size(pod, source, host_memory_bytes) if in_memory else None,
        mode=default_mode if source.mode is None else source.mode,
        fs_group=security.fs_group if security else None,
    )


def compute_page_bytes(pod: models.Pod, medium: str) -> int:
    """Size of the huge pages that a volume is made of.

    Raises:
        VolumeError: The pod requests none such, or several, and the medium does not say which.
    """
    containers = (*pod.spec.containers, *pod.spec.init_containers)
    requests = [each.resources.requests for each in containers if each.resources]
    if pod.spec.resources:
        requests.append(pod.spec.resources.requests)
    names = {name for each in requests for name in each if name.startswith(_PAGE_RESOURCE)}
    sizes = {quantity_to_int(name.removeprefix(_PAGE_RESOURCE)) for name in names}
    if medium != HUGE_PAGES:
        try:
            sizes &= {quantity_to_int(medium.removeprefix(f"{HUGE_PAGES}-"))}
        except ValueError as error:
            raise VolumeError(f'unknown storage medium "{medium}"') from error
    if len(sizes) > 1:
        raise VolumeError(f"medium: {medium} can't be used if container requests multiple huge page sizes")
    if not sizes:
        raise VolumeError(
            f"medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        )
    return sizes.pop()


def compute_memory_size(pod: models.Pod, source: models.EmptyDirVolumeSource, host_memory_bytes: int) -> int | None:
    """Bytes of a memory-backed emptyDir: the least of its limit, the pod's and the host's memory."""
    bounds = [host_memory_bytes, compute_pod_memory_limit(pod) or 0]
    if source.size_limit is not None:
        bounds.append(quantity_to_int(source.size_limit))
    return min((bound for bound in bounds if bound > 0), default=None)


def compute_pod_memory_limit(pod: models.Pod) -> int | None:
    """What all containers together may use; ``None`` as soon as one of them has no limit."""
    running, sidecars, largest_init = 0, 0, 0
    for container in pod.spec.containers:
        limit = _memory_limit(container)
        if not limit:
            return None
        running += limit
    for container in pod.spec.init_containers:
        limit = _memory_limit(container)
        if not limit:
            return None
        if container.restart_policy == "Always":
            sidecars += limit
            largest_init = max(largest_init, sidecars)
        else:
            largest_init = max(largest_init, sidecars + limit)
    return max(running + sidecars, largest_init)


def _memory_limit(container: models.Container) -> int:
    limits = container.resources.limits if container.resources else {}
    return quantity_to_int(limits["memory"]) if "memory" in limits else 0


def apply_plan(plan: EmptyDirPlan, directory: Path) -> None:
    """Make the directory and its tmpfs where they are missing.  Idempotent.  Raises OSError."""
    if plan.in_memory or plan.page_bytes:
        ensure_tmpfs(directory, plan)
    else:
        ensure_disk_directory(directory, plan.mode, plan.fs_group, read_only=False)


def propagates(pod: models.Pod, name: str) -> bool:
    """Whether a container mounts the volume with ``mountPropagation``."""
    spec = pod.spec
    mounts = [m for container in (*spec.init_containers, *spec.containers) for m in container.volume_mounts]
    mounts += [m for container in spec.ephemeral_containers for m in container.volume_mounts]
    return any(m.mount_propagation not in (None, "None") for m in mounts if m.name == name)


def ensure_tmpfs(directory: Path, plan: EmptyDirPlan) -> None:
    """Mount a tmpfs, or huge pages, on the directory unless one is there.  Raises OSError."""
    if mount.is_mount_point(directory):
        return
    fs.ensure_directory(directory, 0o755)
    failpoint.hit(_DIRECTORY_MADE)
    mode = compute_mode(plan.mode, plan.fs_group, read_only=False, directory=True)
    if plan.page_bytes:
        mount.mount_huge_pages(directory, page_bytes=plan.page_bytes, mode=mode, gid=plan.fs_group)
        return
    mount.mount_tmpfs(directory, size_bytes=plan.size_bytes, mode=mode, gid=plan.fs_group, swap=False)
    failpoint.hit(_TMPFS_MOUNTED)


def ensure_disk_directory(directory: Path, mode: int, fs_group: int | None, *, read_only: bool) -> None:
    """Make the directory unless it is there: the mode of one in use belongs to the pod.

    It is made beside and renamed, so that a death half-way never leaves one with the wrong mode or group.
    Raises OSError.
    """
    try:
        if stat.S_ISDIR(os.lstat(directory).st_mode):
            return
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(directory))
    except FileNotFoundError:
        pass
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    fresh = directory.parent / f"..new.{directory.name}"
    fs.ensure_directory(fresh, mode)
    apply_fs_group(fresh, fs_group, read_only=read_only)
    os.rename(fresh, directory)
    failpoint.hit(_DIRECTORY_MADE)
