"""Control groups: what can be said without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from podhost.linux.cgroup import CgroupLayout, cpu_weight

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


@pytest.mark.parametrize(("shares", "weight"), [(0, 0), (2, 1), (1024, 39), (262144, 10000), (1, 1), (9**9, 10000)])
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight
