"""Control groups, version 2 first; version 1 and hybrid hosts too.

Paths such as ``/podhost/default/pod<UID>/<container>`` are relative to the root that this process sees (in a
container: its own cgroup namespace).  On version 1 a path stands for one directory in each mounted controller.
A host without delegation is not an error here: writes that fail are reported to the caller.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podhost.linux import pidfd
from podhost.linux.huge_pages import format_page_size
from podhost.linux.mount import MountInfo, find_mount, mount_tmpfs, mounts, unmount_alone

_ROOT = Path("/sys/fs/cgroup")
_FSTYPES = ("cgroup", "cgroup2")
_KILL_DEADLINE_S = 10.0
_DEFAULT_PERIOD_US = 100_000
_V2_WANTED = ("cpu", "memory", "pids", "io", "cpuset", "hugetlb")


@dataclass(frozen=True, slots=True)
class CgroupLayout:
    """What the host offers."""

    version: Literal[0, 1, 2]
    """0: nothing that we may write to.  All that is done with a path then does nothing, to no process."""
    hybrid: bool
    """Version 1 controllers beside a version 2 hierarchy (systemd's hybrid mode)."""
    controllers: frozenset[str]
    root: Path
    """Mount point: of the version 2 hierarchy, or of the tmpfs that holds those of version 1; where it would be."""
    hierarchies: Mapping[str, Path]
    """Version 1: controller (or ``name=systemd``) → mount point.  Version 2: ``""`` → root."""

    def directories(self, path: str) -> list[Path]:
        """Where ``path`` is in each hierarchy, whether it exists or not."""
        relative = _relative(path)
        return [root / relative for root in dict.fromkeys(self.hierarchies.values())]

    def directory(self, controller: str, path: str) -> Path | None:
        """Where ``path`` is in the hierarchy of one controller."""
        root = self.hierarchies.get("" if self.version == 2 else controller)
        return None if root is None else root / _relative(path)


def _relative(path: str) -> str:
    relative = path.strip("/")
    if not relative or ".." in relative.split("/"):
        raise ValueError(f"cannot use cgroup path {path!r}: want one below the root, without '..'")
    return relative


@functools.cache
def detect() -> CgroupLayout:
    """Look once at the hierarchies that are mounted and can be written to."""
    found = [each for each in mounts() if each.fstype in _FSTYPES and os.access(each.mount_point, os.W_OK)]
    v1 = _list_v1_controllers(found)
    v2 = [info.mount_point for info in found if info.fstype == "cgroup2"]
    controllers_v1 = {name for name in v1 if not name.startswith("name=")}
    if controllers_v1:
        root = next(iter(v1.values())).parent
        return CgroupLayout(1, bool(v2), frozenset(controllers_v1), root, v1)
    if not v2:
        return CgroupLayout(0, False, frozenset(), _ROOT, {})
    root = _ROOT if _ROOT in v2 else v2[0]
    names = (root / "cgroup.controllers").read_text().split()
    return CgroupLayout(2, False, frozenset(names), root, {"": root})


def usable_controllers(path: str) -> frozenset[str]:
    """Controllers whose limits can be set in the cgroup, which must exist.  Raises OSError."""
    layout = detect()
    if layout.version != 2:
        return layout.controllers
    return frozenset((layout.directories(path)[0] / "cgroup.controllers").read_text().split())


def hide_unwritable() -> list[Path]:
    """Take hierarchies that are read-only, or another's, out of the calling thread's mount namespace.

    OCI runtimes use what they see, and fail at it.  Where nothing is left there is an empty directory, as on hosts of
    version 1 that mount none.  Before :func:`detect`.  Returns what was hidden.  Raises OSError.
    """
    found = [each for each in mounts() if each.fstype in _FSTYPES]
    usable = [each for each in found if os.access(each.mount_point, os.W_OK)]
    if all(name.startswith("name=") for name in _list_v1_controllers(usable)):
        # Beside controllers of version 1 it has none, and by itself it is not where runtimes look.
        usable = [each for each in usable if each.fstype != "cgroup2" or each.mount_point == _ROOT]
    hidden = [each.mount_point for each in found if each not in usable and each.mount_point.is_relative_to(_ROOT)]
    for place in reversed(hidden):
        unmount_alone(place)
    if not usable and _ROOT.is_dir() and find_mount(_ROOT).fstype != "tmpfs":
        mount_tmpfs(_ROOT, size_bytes=4096, mode=0o555)
    return hidden


def _list_v1_controllers(found: Iterable[MountInfo]) -> dict[str, Path]:
    """Where each controller of version 1 is mounted, and each named hierarchy (``name=systemd``)."""
    return {
        name: info.mount_point
        for info in found
        if info.fstype == "cgroup"
        for name in info.super_options
        if name not in ("rw", "ro", "xattr", "noprefix", "clone_children") and not name.startswith("release")
    }


def vacate_root() -> None:
    """Move processes out of the root of our view into its child ``init``, where they are in the way of limits.

    On version 2 a cgroup with processes gives no controllers to its children; only the machine's real root may.
    In a container with a cgroup namespace of its own the root is an ordinary cgroup, with the container's
    processes in it unless an init system has sorted them.  What cannot be moved stays: pods then run without limits.
    """
    layout = detect()
    if layout.version != 2 or not (layout.root / "cgroup.type").exists():
        return
    enabled = (layout.root / "cgroup.subtree_control").read_text().split()
    if layout.controllers & {"cpu", "memory", "pids"} <= set(enabled):
        return
    inner = layout.root / "init"
    # 0 is a process of another PID namespace; written back it would mean ourselves.
    while members := _read_pids([layout.root]) - {0}:
        inner.mkdir(exist_ok=True)
        if sum(_try_to_move(inner, pid) for pid in members) == 0:
            return


def _try_to_move(directory: Path, pid: int) -> bool:
    try:
        (directory / "cgroup.procs").write_text(str(pid))
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True


def create(path: str) -> None:
    """Make the cgroup in each hierarchy, with its parents.  Idempotent.

    On version 2 the controllers are enabled from the root down to the parent of ``path``.  Raises OSError.
    """
    layout = detect()
    for directory in layout.directories(path):
        try:
            os.mkdir(directory)
        except FileExistsError:
            continue
        except FileNotFoundError:
            directory.mkdir(parents=True, exist_ok=True)
    if layout.version == 2:
        _enable_controllers(layout, Path(_relative(path)).parent)
    elif "cpuset" in layout.hierarchies:
        root = layout.hierarchies["cpuset"]
        for name in ("cpuset.cpus", "cpuset.mems"):
            _ensure_cpuset(root, root / _relative(path), name)


def _enable_controllers(layout: CgroupLayout, relative: Path) -> None:
    wanted = {name for name in _V2_WANTED if name in layout.controllers}
    if wanted <= _read_enabled(layout.root / relative):
        # What is enabled here is enabled in all above.
        return
    for ancestor in [*reversed(relative.parents), relative]:
        directory = layout.root / ancestor
        control = directory / "cgroup.subtree_control"
        missing = sorted(wanted - _read_enabled(directory))
        if missing and _is_populated_itself(directory):
            # Memory cannot be given to its children; cpu and pids could, but would make it a root of threads,
            # whose children take no processes: an exec's cgroup below a container's.
            continue
        for name in missing:
            try:
                control.write_text(f"+{name}")
            except OSError:
                # Not delegated: its limits cannot be had.
                continue


def _read_enabled(directory: Path) -> set[str]:
    return set((directory / "cgroup.subtree_control").read_text().split())


def _is_populated_itself(directory: Path) -> bool:
    """Processes in the cgroup; those in the machine's real root do not count, for the kernel neither."""
    return (directory / "cgroup.type").exists() and bool((directory / "cgroup.procs").read_text())


def _ensure_cpuset(root: Path, directory: Path, name: str) -> str:
    """A new version 1 cpuset is empty, and no process may enter it until it is filled.  Returns its content."""
    content = (directory / name).read_text().strip()
    if not content and directory != root:
        content = _ensure_cpuset(root, directory.parent, name)
        (directory / name).write_text(content)
    return content


UNLIMITED = -1
"""Takes a limit away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """``None`` leaves what is set; :data:`UNLIMITED` takes a quota or a limit away."""

    cpu_shares: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    memory_limit_bytes: int | None = None
    without_swap: bool = False
    """Version 1: memory and swap together are limited alike, where swap is counted."""
    pids_limit: int | None = None
    huge_page_limits: tuple[tuple[int, int], ...] = ()
    """(size of a page, bytes of such pages)."""


def ensure_pod_parent(path: str, limits: CgroupLimits) -> list[str]:
    """The cgroup above a pod's containers, with the pod's limits.  Idempotent.

    Returns what could not be limited, one sentence each; the pod runs without it.  Raises OSError when not
    even the directory can be made.
    """
    create(path)
    return set_limits(path, limits)


def set_limits(path: str, limits: CgroupLimits) -> list[str]:
    """Change the limits of a cgroup.  Idempotent.  Returns what could not be set, one sentence each."""
    layout = detect()
    settings = compute_v2_settings(limits) if layout.version == 2 else compute_v1_settings(limits)
    problems = []
    for controller, name, value in settings:
        directory = layout.directory(controller, path)
        try:
            if directory is None:
                raise FileNotFoundError(errno.ENOENT, f"the {controller} controller is not available")
            if ".rsvd." in name and not (directory / name).exists():
                # Kernels before 5.7 count pages only when they are used.
                continue
            if name.startswith("memory.memsw"):
                _set_memory_and_swap(directory, value)
            else:
                (directory / name).write_text(value)
        except OSError as error:
            problems.append(f"cannot set {name} of cgroup {path} to {value}: {error.strerror}")
    return problems


def _set_memory_and_swap(directory: Path, value: str) -> None:
    """Both alike, and the sum never below its part: which comes first depends on the direction."""
    both, memory = directory / "memory.memsw.limit_in_bytes", directory / "memory.limit_in_bytes"
    files = [memory]
    if both.exists():
        files = [both, memory] if value == "-1" or int(value) >= int(both.read_text()) else [memory, both]
    for file in files:
        file.write_text(value)


def compute_v2_settings(limits: CgroupLimits) -> list[tuple[str, str, str]]:
    """(controller, file, content) in the order of writing."""
    found = []
    if limits.cpu_shares is not None:
        found.append(("cpu", "cpu.weight", str(cpu_weight(limits.cpu_shares))))
    if limits.cpu_quota_us is not None:
        quota, period = _quota(limits.cpu_quota_us), limits.cpu_period_us or _DEFAULT_PERIOD_US
        found.append(("cpu", "cpu.max", f"{quota} {period}"))
    if limits.memory_limit_bytes is not None:
        found.append(("memory", "memory.max", _quota(limits.memory_limit_bytes)))
    if limits.pids_limit is not None:
        found.append(("pids", "pids.max", _quota(limits.pids_limit)))
    return found + _compute_huge_page_settings(limits, "max")


def compute_v1_settings(limits: CgroupLimits) -> list[tuple[str, str, str]]:
    """(controller, file, content) in the order of writing."""
    found = []
    if limits.cpu_shares is not None:
        found.append(("cpu", "cpu.shares", str(limits.cpu_shares)))
    if limits.cpu_quota_us is not None:
        found.append(("cpu", "cpu.cfs_period_us", str(limits.cpu_period_us or _DEFAULT_PERIOD_US)))
        found.append(("cpu", "cpu.cfs_quota_us", str(limits.cpu_quota_us)))
    if limits.memory_limit_bytes is not None:
        name = "memory.memsw.limit_in_bytes" if limits.without_swap else "memory.limit_in_bytes"
        found.append(("memory", name, str(limits.memory_limit_bytes)))
    if limits.pids_limit is not None:
        found.append(("pids", "pids.max", _quota(limits.pids_limit)))
    return found + _compute_huge_page_settings(limits, "limit_in_bytes")


def _compute_huge_page_settings(limits: CgroupLimits, file: str) -> list[tuple[str, str, str]]:
    """What is used and, so that it fails at the reservation and not at the use, what is reserved."""
    return [
        ("hugetlb", f"hugetlb.{format_page_size(size)}.{kind}{file}", str(amount))
        for size, amount in limits.huge_page_limits
        for kind in ("", "rsvd.")
    ]


def _quota(value: int) -> str:
    return "max" if value < 0 else str(value)


def cpu_weight(shares: int) -> int:
    """Version 2's weight (1…10000) of version 1's shares (2…262144), as kubelets convert since 1.35.

    A parabola on logarithms that leads through both ends and both defaults, 1024 and 100; runc has it since 1.3.2,
    crun since 1.23.  Their older straight line gave 39 for 1024.
    """
    if shares == 0:
        return 0
    log = math.log2(max(2, min(shares, 262144)))
    return min(math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34)), 10000) if shares > 2 else 1


def attach(path: str, pid: int) -> None:
    """Move a process into the cgroup, in each hierarchy where that is possible.

    Raises:
        OSError: It is possible in none.
    """
    failure: OSError | None = None
    attached = False
    for directory in detect().directories(path):
        try:
            (directory / "cgroup.procs").write_text(str(pid))
            attached = True
        except OSError as error:
            failure = error
    if failure is not None and not attached:
        raise failure


def _live_directories(path: str) -> list[Path]:
    return [directory for directory in detect().directories(path) if directory.is_dir()]


def _subtree(directory: Path) -> list[Path]:
    """The directory and all below, deepest first."""
    found = []
    for current, _names, _files in os.walk(directory, topdown=False):
        found.append(Path(current))
    return found


def _read_pids(directories: Iterable[Path]) -> set[int]:
    found: set[int] = set()
    for directory in directories:
        try:
            found.update(map(int, (directory / "cgroup.procs").read_text().split()))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
    return found


def pids(path: str) -> set[int]:
    """Processes in the cgroup and below, in any hierarchy; empty when it is absent."""
    found: set[int] = set()
    for directory in _live_directories(path):
        found |= _read_pids(_subtree(directory))
    return found


def kill(path: str) -> None:
    """Kill every process in the cgroup and below, and wait until they are gone.  Idempotent; blocking.

    Version 2 has ``cgroup.kill``; otherwise the members are frozen while they are killed, so that none can
    fork away.  Raises TimeoutError when some do not die (uninterruptible sleep).
    """
    layout = detect()
    deadline = time.monotonic() + _KILL_DEADLINE_S
    while members := pids(path):
        watched = pidfd.open_living(members)
        try:
            if not _kill_at_once(layout, path):
                _kill_frozen(layout, path)
            pidfd.wait_all_exited(watched.values(), deadline)
        finally:
            for fd in watched.values():
                os.close(fd)
        if time.monotonic() > deadline:
            raise TimeoutError(f"cannot kill cgroup {path}: processes {sorted(members)} do not die")
        if not watched:
            # Only zombies are left, which their parents have to reap.
            return


def _kill_at_once(layout: CgroupLayout, path: str) -> bool:
    if layout.version != 2:
        return False
    try:
        (layout.directories(path)[0] / "cgroup.kill").write_text("1")
    except FileNotFoundError:
        return False
    return True


def _kill_frozen(layout: CgroupLayout, path: str) -> None:
    freezer = layout.directory("freezer", path) if layout.version == 1 else None
    control = None if freezer is None else freezer / "freezer.state"
    _write_if_there(control, "FROZEN")
    try:
        for pid in pids(path):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    finally:
        _write_if_there(control, "THAWED")


def _write_if_there(file: Path | None, value: str) -> None:
    if file is not None:
        try:
            file.write_text(value)
        except OSError:
            pass


def remove(path: str) -> None:
    """Remove the cgroup and all below in every hierarchy.  Idempotent.

    Raises:
        OSError: EBUSY while processes are in it (see :func:`kill`).
    """
    failure: OSError | None = None
    for top in detect().directories(path):
        # Nearly always a leaf: listing it, with its dozens of files, would cost more than removing it.
        if _remove_directory(top) is None:
            continue
        for directory in _subtree(top):
            failure = _remove_directory(directory) or failure
    if failure is not None:
        raise failure


def _remove_directory(directory: Path) -> OSError | None:
    """Why it is still there."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def oom_kill_count(path: str) -> int:
    """How often the kernel killed a process here for want of memory; 0 when that cannot be known."""
    layout = detect()
    directory = layout.directory("memory", path)
    if directory is None:
        return 0
    name = "memory.events" if layout.version == 2 else "memory.oom_control"
    try:
        lines = (directory / name).read_text().splitlines()
    except OSError:
        return 0
    counters = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(counters.get("oom_kill", "0"))
