"""Limits in CRI's words -> limits in the kernel's, as far as the host can set them.  Pure."""

from __future__ import annotations

from podhost.cri.runtime import LinuxResources
from podhost.linux.cgroup import CgroupLimits
from podhost.runtime.host_facts import HostFacts


def build_limits(wanted: LinuxResources, host: HostFacts, *, without_swap: bool = False) -> CgroupLimits:
    """Without what needs a controller that the host does not give.

    Of huge pages a cgroup gets none unless it asks for them, whatever sizes the kernel knows.
    ``without_swap`` is for cgroups of version 1, whose limit of memory is then one of memory and swap together.
    """
    has_cpu, has_memory, has_pids = (name in host.controllers for name in ("cpu", "memory", "pids"))
    pages, sizes = dict(wanted.huge_page_limits), host.huge_page_sizes if "hugetlb" in host.controllers else ()
    return CgroupLimits(
        cpu_shares=wanted.cpu_shares if has_cpu else None,
        cpu_quota_us=wanted.cpu_quota_us if has_cpu else None,
        cpu_period_us=wanted.cpu_period_us if has_cpu else None,
        memory_limit_bytes=wanted.memory_limit_bytes if has_memory else None,
        without_swap=without_swap and host.can_limit_swap,
        pids_limit=wanted.pids_limit if has_pids else None,
        huge_page_limits=tuple((size, pages.get(size, 0)) for size in sizes),
    )


def build_class_limits(wanted: LinuxResources, host: HostFacts) -> CgroupLimits:
    """Of a cgroup above pods: what it has huge pages for is its pods' affair."""
    return CgroupLimits(cpu_shares=wanted.cpu_shares if "cpu" in host.controllers else None)
