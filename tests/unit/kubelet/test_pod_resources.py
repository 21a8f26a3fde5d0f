"""cgroup values of whole pods."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.runtime import LinuxResources
from podhost.kubelet.pod_resources import build_pod_resources

Amounts = dict[str, str]


def container(name: str, requests: Amounts | None = None, limits: Amounts | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "i", "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def build(*containers: dict[str, Any], **spec: Any) -> LinuxResources:
    return build_pod_resources(msgspec.convert(make_pod("web", *containers, **spec), models.Pod))


def test_a_pod_that_asks_for_nothing_weighs_least() -> None:
    assert build(container("a")) == LinuxResources(cpu_shares=2)


def test_weights_and_limits_of_containers_add_up() -> None:
    limits = {"cpu": "500m", "memory": "1Mi"}
    built = build(container("a", {"cpu": "250m"}, limits), container("b", {"cpu": "250m"}, limits))
    assert built == LinuxResources(
        cpu_shares=512, cpu_quota_us=100_000, cpu_period_us=100_000, memory_limit_bytes=2 << 20
    )


def test_one_container_without_a_limit_leaves_the_pod_without_one() -> None:
    built = build(container("a", limits={"cpu": "1", "memory": "1Mi"}), container("b", limits={"cpu": "1"}))
    assert (built.cpu_quota_us, built.memory_limit_bytes) == (200_000, None)


@pytest.mark.parametrize(
    ("init", "bytes_wanted"),
    [
        ((container("once", limits={"memory": "9Mi"}),), 9 << 20),
        ((container("once", limits={"memory": "1Mi"}),), 2 << 20),
        ((container("side", limits={"memory": "3Mi"}, restartPolicy="Always"),), 5 << 20),
        (
            (
                container("side", limits={"memory": "3Mi"}, restartPolicy="Always"),
                container("once", limits={"memory": "9Mi"}),
            ),
            12 << 20,
        ),
        ((container("once"),), None),
    ],
)
def test_start_up_steps_count_with_the_largest_and_sidecars_always(
    init: tuple[dict[str, Any], ...], bytes_wanted: int | None
) -> None:
    built = build(container("a", limits={"memory": "2Mi"}), initContainers=list(init))
    assert built.memory_limit_bytes == bytes_wanted


def test_limits_of_the_pod_itself_replace_the_sum() -> None:
    built = build(container("a", limits={"memory": "2Mi"}), resources={"limits": {"memory": "8Mi", "cpu": "50m"}})
    assert (built.memory_limit_bytes, built.cpu_quota_us) == (8 << 20, 5_000)


def test_huge_pages_of_containers_add_up_whatever_the_class_of_the_pod() -> None:
    pages = {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi"}
    built = build(container("a", pages, pages), container("b", limits={"hugepages-2Mi": "2Mi"}))
    assert built == LinuxResources(cpu_shares=2, huge_page_limits=((2 << 20, 6 << 20), (1 << 30, 1 << 30)))
    started = container("once", limits={"hugepages-2Mi": "8Mi"})
    assert build(container("a", pages, pages), initContainers=[started]).huge_page_limits[0] == (2 << 20, 8 << 20)
    assert build(container("a", {"cpu": "1"})).huge_page_limits == ()
