"""Control groups: what can be said without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.cgroup import CgroupLayout, CgroupLimits, compute_v1_settings, compute_v2_settings, cpu_weight

V2 = CgroupLayout(2, False, frozenset({"cpu"}), Path("/cg"), {"": Path("/cg")})
V1 = CgroupLayout(
    1,
    True,
    frozenset({"cpu", "cpuacct", "memory"}),
    Path("/cg"),
    {"cpu": Path("/cg/cpu,cpuacct"), "cpuacct": Path("/cg/cpu,cpuacct"), "memory": Path("/cg/memory")},
)


def test_version_2_has_one_directory() -> None:
    assert V2.directories("/podhost/x") == [Path("/cg/podhost/x")]
    assert V2.directory("memory", "/podhost/x") == Path("/cg/podhost/x")


def test_version_1_has_one_directory_a_hierarchy() -> None:
    assert V1.directories("/podhost/x") == [Path("/cg/cpu,cpuacct/podhost/x"), Path("/cg/memory/podhost/x")]
    assert V1.directory("memory", "podhost/x") == Path("/cg/memory/podhost/x")
    assert V1.directory("pids", "podhost/x") is None


@pytest.mark.parametrize("path", ["", "/", "..", "/a/../../b"])
def test_paths_that_are_not_below_the_root_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot use cgroup path"):
        V2.directories(path)


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174), (262143, 10000), (9**9, 10000)],
)
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_limits_in_the_words_of_both_versions() -> None:
    limits = CgroupLimits(cpu_shares=1024, cpu_quota_us=5000, memory_limit_bytes=7, pids_limit=9)
    assert compute_v2_settings(limits) == [
        ("cpu", "cpu.weight", "100"),
        ("cpu", "cpu.max", "5000 100000"),
        ("memory", "memory.max", "7"),
        ("pids", "pids.max", "9"),
    ]
    assert compute_v1_settings(limits) == [
        ("cpu", "cpu.shares", "1024"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_quota_us", "5000"),
        ("memory", "memory.limit_in_bytes", "7"),
        ("pids", "pids.max", "9"),
    ]
    pages = CgroupLimits(huge_page_limits=((2 << 20, 4 << 20), (1 << 30, 0)))
    assert compute_v2_settings(pages) == [
        ("hugetlb", "hugetlb.2MB.max", str(4 << 20)),
        ("hugetlb", "hugetlb.2MB.rsvd.max", str(4 << 20)),
        ("hugetlb", "hugetlb.1GB.max", "0"),
        ("hugetlb", "hugetlb.1GB.rsvd.max", "0"),
    ]
    assert compute_v1_settings(pages)[0] == ("hugetlb", "hugetlb.2MB.limit_in_bytes", str(4 << 20))
    gone = CgroupLimits(cpu_quota_us=-1, memory_limit_bytes=-1, without_swap=True)
    assert [value for _, _, value in compute_v2_settings(gone)] == ["max 100000", "max"]
    assert compute_v1_settings(gone)[-1] == ("memory", "memory.memsw.limit_in_bytes", "-1")
    assert compute_v2_settings(CgroupLimits()) == compute_v1_settings(CgroupLimits()) == []
