"""Quantities -> what the kernel is told: whatever a manifest says, within the kernel's bounds, and more is never less."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.api.quantity import parse_quantity
from podhost.cri.runtime import LinuxResources
from podhost.kubelet.container_config import build_resources
from podhost.kubelet.pod_resources import (
    build_pod_resources,
    compute_cpu_quota_us,
    compute_cpu_shares,
    compute_pod_request,
    to_millis,
)
from podhost.linux.cgroup import CgroupLimits, compute_v1_settings, compute_v2_settings, cpu_weight

BOUNDS = {
    "cpu.shares": (2, 262_144),
    "cpu.weight": (1, 10_000),
    "cpu.cfs_period_us": (1_000, 1_000_000),
    "cpu.cfs_quota_us": (1_000, (1 << 44) - 1),
    "cpu.max": (1_000, (1 << 44) - 1),
    "memory.max": (1, (1 << 63) - 1),
    "memory.limit_in_bytes": (1, (1 << 63) - 1),
}
"""Of the kernel."""

numbers = st.one_of(
    st.integers(0, 5000).map(str),
    st.integers(0, 10**24).map(str),
    st.decimals(0, 10**6, places=9, allow_nan=False).map(lambda value: f"{value:f}"),
)
suffixes = st.sampled_from(
    ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "e-6"]
)
quantities = st.builds(lambda number, suffix: number + suffix, numbers, suffixes)
amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "hugepages-2Mi"]), quantities)
resources = st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts})
containers = st.lists(resources, min_size=1, max_size=4)


def build(containers: Iterable[dict[str, Any]], inits: Iterable[dict[str, Any]] = (), **spec: Any) -> models.Pod:
    main = [{"name": f"c{index}", "resources": each} for index, each in enumerate(containers)]
    init = [{"name": f"i{index}", "image": "i", "resources": each} for index, each in enumerate(inits)]
    return msgspec.convert(make_pod("web", *main, initContainers=init, **spec), models.Pod)


def verify_bounds(built: LinuxResources) -> None:
    limits = CgroupLimits(
        cpu_shares=built.cpu_shares,
        cpu_quota_us=built.cpu_quota_us,
        cpu_period_us=built.cpu_period_us,
        memory_limit_bytes=built.memory_limit_bytes,
        huge_page_limits=built.huge_page_limits,
    )
    for _, name, value in (*compute_v1_settings(limits), *compute_v2_settings(limits)):
        low, high = BOUNDS.get(name, (0, (1 << 64) - 1))
        assert low <= int(value.split()[0]) <= high, (name, value)


@given(containers, st.lists(resources, max_size=2), resources)
def test_no_quantity_leads_out_of_the_kernels_bounds(
    main: list[dict[str, Any]], inits: list[dict[str, Any]], whole: dict[str, Any]
) -> None:
    pod = build(main, inits, resources=whole)
    verify_bounds(build_pod_resources(pod))
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        verify_bounds(build_resources(pod, container, 1 << 34))


@given(containers, st.lists(resources, max_size=2))
def test_a_limited_pod_has_room_for_each_of_its_containers(
    main: list[dict[str, Any]], inits: list[dict[str, Any]]
) -> None:
    """The kernel of version 1 refuses a child with more than its parent."""
    pod = build(main, inits)
    whole = build_pod_resources(pod)
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        part = build_resources(pod, container, 1 << 34)
        assert part.cpu_shares is not None
        assert whole.cpu_shares is not None
        assert part.cpu_shares <= whole.cpu_shares
        if whole.cpu_quota_us is not None:
            assert part.cpu_quota_us is not None
            assert part.cpu_quota_us <= whole.cpu_quota_us
        if whole.memory_limit_bytes is not None:
            assert part.memory_limit_bytes is not None
            assert part.memory_limit_bytes <= whole.memory_limit_bytes


@given(containers, resources)
def test_one_more_container_never_takes_a_share_away(main: list[dict[str, Any]], more: dict[str, Any]) -> None:
    before, after = (build_pod_resources(build(each)) for each in (main, [*main, more]))
    assert before.cpu_shares is not None
    assert after.cpu_shares is not None
    assert before.cpu_shares <= after.cpu_shares
    assert compute_pod_request(build(main), "memory") <= compute_pod_request(build([*main, more]), "memory")
    grown = dict(after.huge_page_limits)
    assert all(amount <= grown[size] for size, amount in before.huge_page_limits)


@given(quantities, quantities)
def test_more_is_never_less(one: str, other: str) -> None:
    small, large = sorted((one, other), key=parse_quantity)
    assert 0 <= to_millis(small) <= to_millis(large)
    shares = [compute_cpu_shares(to_millis(each)) for each in (small, large)]
    assert shares == sorted(shares)
    weights = [cpu_weight(each) for each in shares]
    assert weights == sorted(weights)
    quotas = [compute_cpu_quota_us(to_millis(each)) for each in (small, large)]
    assert quotas == sorted(quotas)


def test_every_number_of_shares_has_a_weight_and_they_rise() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262_145)]
    assert weights == sorted(weights)
    assert (weights[0], weights[-1]) == (1, 10_000)
