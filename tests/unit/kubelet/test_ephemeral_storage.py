"""Who uses more local disk than it may, in the kubelet's words; and the end of such a pod, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import Rig, make_pod
from podhost.api import models
from podhost.cri.stats import DiskUsage, FileSystemStats
from podhost.kubelet.ephemeral_storage import ContainerDisk, PodDisk, find_exceeded

MI = 1 << 20


def container(name: str, limit: str = "") -> dict[str, Any]:
    return {"name": name, **({"resources": {"limits": {"ephemeral-storage": limit}}} if limit else {})}


def find(used: dict[str, int], volumes_bytes: int, *containers: dict[str, Any], **spec: Any) -> str | None:
    """``used``: by container, half of it logs; ``volumes_bytes``: of each volume."""
    volumes = spec.setdefault("volumes", [{"name": "v", "emptyDir": {}}])
    pod = msgspec.convert(make_pod("web", *containers, **spec), models.Pod)
    disk = PodDisk(
        containers={name: ContainerDisk(rootfs=half(number), logs=half(number)) for name, number in used.items()},
        volumes={
            each["name"]: FileSystemStats(
                used=DiskUsage(used_bytes=volumes_bytes), capacity_bytes=0, available_bytes=0, inodes=0, inodes_free=0
            )
            for each in volumes
        },
    )
    return find_exceeded(pod, disk)


def half(number: int) -> DiskUsage:
    return DiskUsage(used_bytes=number // 2)


def test_a_pod_may_use_what_its_containers_may_together_volumes_included() -> None:
    both = (container("a", "10Mi"), container("b", "20Mi"))
    assert find({"a": 9 * MI, "b": 9 * MI}, 11 * MI, *both) is None
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. "
    assert find({"a": 9 * MI, "b": 9 * MI}, 13 * MI, *both) == text
    assert find({"a": 0, "b": 99 * MI}, 0, container("a", "10Mi"), container("b")) is not None


@pytest.mark.parametrize(
    ("first", "second", "shown"), [("10M", "20M", "30M"), ("1000k", "1Mi", "2048576"), ("1024Ki", "1M", "2048576")]
)
def test_limit_of_a_pod_is_spelled_like_that_of_its_first_container(first: str, second: str, shown: str) -> None:
    text = f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    assert find({"a": 99 * MI}, 0, container("a", first), container("b", second)) == text


def test_a_container_may_use_only_its_own_part() -> None:
    text = 'Container a exceeded its local ephemeral storage limit "10Mi". '
    assert find({"a": 11 * MI, "b": 0}, 0, container("a", "10240Ki"), container("b", "20Mi")) == text


def test_of_containers_that_start_a_pod_only_the_sum_counts() -> None:
    inits = [container("once", "1Mi")]
    assert find({"a": 0, "once": 11 * MI}, 0, container("a", "20Mi"), initContainers=inits) is None


def test_volume_over_its_limit_is_named_before_the_pod() -> None:
    volumes = [{"name": "x", "emptyDir": {"sizeLimit": "1024Ki"}}, {"name": "free", "emptyDir": {}}]
    text = 'Usage of EmptyDir volume "x" exceeds the limit "1Mi". '
    assert find({}, 2 * MI, container("a", "1Mi"), volumes=volumes) == text
    assert find({}, 1 * MI, container("a"), volumes=volumes) is None


@pytest.mark.parametrize("source", [{"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, {"secret": {}}])
def test_volumes_in_memory_do_not_count(source: dict[str, Any]) -> None:
    assert find({}, 99 * MI, container("a", "1Mi"), volumes=[{"name": "x", **source}]) is None


def test_without_a_limit_nothing_is_too_much() -> None:
    assert find({"a": 1 << 40}, 1 << 40, container("a")) is None


def test_start_up_steps_run_one_by_one_and_sidecars_beside_the_rest() -> None:
    inits = [container("once", "50Mi"), container("side", "5Mi") | {"restartPolicy": "Always"}]
    assert find({"a": 10 * MI}, 35 * MI, container("a", "20Mi"), initContainers=inits) is None
    assert find({"a": 10 * MI}, 41 * MI, container("a", "20Mi"), initContainers=inits) is not None


@pytest.mark.looptime
async def test_the_pod_is_evicted_at_the_next_look(rig: Rig) -> None:
    rig.create(make_pod("web", container("main", "1Mi")))
    await asyncio.sleep(61)
    assert rig.status()["phase"] == "Running"
    rig.runtime.layers["main"] = 2 * MI
    await asyncio.sleep(62)
    status = rig.status()
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["message"].startswith("Pod ephemeral local storage usage exceeds")
