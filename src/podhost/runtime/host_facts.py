"""What the host permits, read once at start."""

from __future__ import annotations

import os
import platform
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podhost.linux.huge_pages import read_huge_pages
from podhost.runtime.capabilities import parse_capability_mask

_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Facts that do not change while the daemon runs."""

    capabilities: frozenset[str]
    architecture: str
    """Go's name, ``amd64``."""
    kernel: tuple[int, int]
    oom_score_adj: int
    """Our own; lower values need CAP_SYS_RESOURCE."""
    cgroup_version: int
    """0: the host gives none."""
    limits_devices: bool = True
    """Whether the kernel can be told which devices a container may open."""
    controllers: frozenset[str]
    """cgroup controllers whose limits can be set for containers."""
    can_limit_swap: bool
    huge_page_sizes: tuple[int, ...] = ()
    """That the kernel knows and can limit."""
    thermal_paths: tuple[str, ...] = ()
    """Directories in ``/sys`` that tell of the processors' heat, and by it of what others compute."""


def read_host_facts(cgroup_version: int, controllers: frozenset[str], cgroup_place: Path) -> HostFacts:
    """Read them; blocking, below 1 ms.  ``cgroup_place``: a cgroup with memory limits, where the host gives any."""
    status = Path("/proc/self/status").read_text()
    bounding = re.search(r"^CapPrm:\s*([0-9a-f]+)", status, re.MULTILINE)
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return HostFacts(
        capabilities=parse_capability_mask(bounding[1]) if bounding else frozenset(),
        architecture=_GO_ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=(int(release[1]), int(release[2])) if release else (0, 0),
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        cgroup_version=cgroup_version,
        # Version 2 has no controller for it, but a hook.
        limits_devices=cgroup_version == 2 or "devices" in controllers,
        controllers=controllers,
        huge_page_sizes=tuple(read_huge_pages()) if "hugetlb" in controllers else (),
        can_limit_swap=_can_limit_swap(cgroup_version, cgroup_place),
        thermal_paths=tuple(sorted(map(str, Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")))),
    )


def list_host_devices(root: Path = Path("/dev")) -> list[dict[str, Any]]:
    """Device nodes below ``root`` as ``linux.devices`` of an OCI spec, for privileged containers; blocking.

    What the container has of its own (ptys, shm, mqueue, console) is left out, as containerd does.
    """
    devices = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts")]
        for name in files:
            path = Path(directory, name)
            entry = None if name in ("console", "ptmx", "tty") else _describe_device(path)
            if entry is not None:
                devices.append(entry)
    return sorted(devices, key=lambda device: str(device["path"]))


def _describe_device(path: Path) -> dict[str, Any] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        return None
    return {
        "path": str(path),
        "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }


def _can_limit_swap(cgroup_version: int, cgroup_place: Path) -> bool:
    name = "memory.memsw.limit_in_bytes" if cgroup_version == 1 else "memory.swap.max"
    return (cgroup_place / name).exists()
