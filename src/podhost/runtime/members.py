"""The processes of a container, and what they use: those of its cgroup, and without one those that have its root."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from podhost.cri.ids import ContainerId
from podhost.linux import cgroup, strays
from podhost.linux.usage import CgroupUse, read_cgroup_use, read_process_use
from podhost.runtime.settings import RuntimePaths


def kill_members(paths: RuntimePaths, oci_id: str, cgroup_path: str) -> None:
    """Kill them.  Blocking.  Raises OSError or TimeoutError when some cannot be killed."""
    if cgroup.detect().version:
        cgroup.kill(cgroup_path)
    else:
        strays.kill_rooted(paths.bundle(ContainerId(oci_id)).rootfs)


def is_member(paths: RuntimePaths, oci_id: str, cgroup_path: str, pid: int) -> bool:
    """Whether the process is one of them.  Blocking."""
    if cgroup.detect().version:
        return pid in cgroup.pids(cgroup_path)
    return pid in strays.find_rooted(paths.bundle(ContainerId(oci_id)).rootfs)


def read_member_use(
    paths: RuntimePaths, containers: Collection[tuple[ContainerId, str]]
) -> list[tuple[CgroupUse, int]]:
    """Of each of these containers, given with its cgroup, and when it was read (monotonic, ns).  Blocking."""
    if cgroup.detect().version:
        return [(read_cgroup_use(path), time.monotonic_ns()) for _, path in containers]
    roots = [paths.bundle(container_id).rootfs for container_id, _ in containers]
    found = strays.find_all_rooted(roots)
    return [(read_process_use(found[root]), time.monotonic_ns()) for root in roots]


def read_pod_use(paths: RuntimePaths, pod_cgroup: str, containers: Iterable[ContainerId]) -> CgroupUse:
    """Of a pod as a whole, with these running containers.  Blocking."""
    if cgroup.detect().version:
        return read_cgroup_use(pod_cgroup)
    found = strays.find_all_rooted([paths.bundle(container_id).rootfs for container_id in containers])
    return read_process_use(set().union(*found.values()))
