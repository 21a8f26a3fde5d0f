"""In-place resize: what fits, what is written in which order, what restarts; and a whole pod in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import Rig, make_pod
from podhost.api import models
from podhost.cri.runtime import LinuxResources
from podhost.errors import PodhostError
from podhost.kubelet.pod_resources import build_pod_resources
from podhost.kubelet.qos import compute_oom_score_adj
from podhost.kubelet.resize import (
    allocation_of,
    compute_pod_steps,
    find_obstacle,
    format_resize_event,
    is_same,
    read_allocation,
    spell_out,
)


def sized(cpu: str, memory: str, *, limit: str = "", **more: Any) -> dict[str, Any]:
    return {
        "name": "main",
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": limit or cpu, "memory": memory}},
        **more,
    }


def convert(document: dict[str, Any]) -> models.Pod:
    return msgspec.convert(document, models.Pod)


def test_a_pod_that_never_fits_is_told_apart_from_one_that_does_not_fit_now() -> None:
    def find(cpu: str, memory: str, *others: models.Pod) -> tuple[str, str] | None:
        pod = convert(make_pod("web", sized(cpu, memory)))
        found = find_obstacle(pod, others, cpu_millis=2000, memory_bytes=1 << 30)
        return (found.reason, found.message) if found else None

    other = convert(make_pod("other", sized("1500m", "512Mi")))
    assert find("2", "1Gi") is None
    assert find("3", "1Mi") == ("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000")
    assert find("1", "2Gi") == (
        "Infeasible",
        "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
    )
    assert find("600m", "1Mi", other) == (
        "Deferred",
        "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000",
    )
    assert find("500m", "1Mi", other) is None


def test_an_event_about_a_resize_tells_the_resources_of_all_containers() -> None:
    document = make_pod("web", sized("1", "64Mi"))
    document["spec"]["initContainers"] = [{"name": "once", "image": "debian"}]
    document["metadata"]["generation"] = 2
    assert format_resize_event("Pod resize Deferred", convert(document), error="why") == (
        'Pod resize Deferred: {"initContainers":[{"name":"once","resources":{}}],"containers":[{"name":"main",'
        '"resources":{"limits":{"cpu":"1","memory":"64Mi"},"requests":{"cpu":"1","memory":"64Mi"}}}],'
        '"generation":2,"error":"why"}'
    )


def test_what_was_allocated_is_read_from_the_status_and_compared_by_value() -> None:
    pod = convert(make_pod("web", sized("1", "64Mi")))
    status: dict[str, Any] = {
        "containerStatuses": [{"name": "main", "resources": {"limits": {"cpu": "1000m", "memory": "64Mi"}}}]
    }
    before = read_allocation(pod, status)
    assert not is_same(before, allocation_of(pod)), "the requests differ"
    status["containerStatuses"][0]["resources"]["requests"] = {"cpu": "1", "memory": "65536Ki"}
    assert is_same(read_allocation(pod, status), allocation_of(pod))
    assert is_same(read_allocation(pod, {}), allocation_of(pod)), "a new pod has what it wants"


def test_a_pod_grows_before_its_containers_and_shrinks_after_them() -> None:
    pod = convert(make_pod("web", sized("100m", "64Mi", limit="200m")))
    now = LinuxResources(cpu_shares=512, cpu_quota_us=10_000, cpu_period_us=100_000, memory_limit_bytes=128 << 20)
    steps = compute_pod_steps(pod, now)
    assert steps is not None
    first, last = steps
    assert (first.cpu_quota_us, first.memory_limit_bytes) == (20_000, 128 << 20)
    assert (last.cpu_quota_us, last.memory_limit_bytes, last.cpu_shares) == (20_000, 64 << 20, 102)
    assert compute_pod_steps(pod, last) is None
    unlimited = compute_pod_steps(pod, LinuxResources(cpu_shares=102))
    assert unlimited is not None
    assert (unlimited[0].cpu_quota_us, unlimited[0].memory_limit_bytes) == (None, None), "not limited before the end"
    assert (unlimited[1].cpu_quota_us, unlimited[1].memory_limit_bytes) == (20_000, 64 << 20)


def test_a_limit_that_is_not_wanted_any_more_is_taken_away() -> None:
    spelt = spell_out(LinuxResources(cpu_quota_us=5000, memory_limit_bytes=7), LinuxResources(cpu_shares=2))
    assert (spelt.cpu_quota_us, spelt.memory_limit_bytes) == (-1, -1)
    assert spell_out(LinuxResources(cpu_quota_us=-1), LinuxResources()) == LinuxResources()


def test_resources_of_the_whole_pod_limit_its_cgroup_and_count_for_the_oom_score() -> None:
    whole = {"requests": {"cpu": "500m", "memory": "400Mi"}, "limits": {"cpu": "1", "memory": "800Mi"}}
    pod = convert(make_pod("web", {"name": "a"}, {"name": "b"}, resources=whole))
    built = build_pod_resources(pod)
    assert (built.cpu_shares, built.cpu_quota_us, built.memory_limit_bytes) == (512, 100_000, 800 << 20)
    # Half of 400 Mi of 1000 Mi each.
    assert compute_oom_score_adj(pod, pod.spec.containers[0], 1000 << 20) == 800


def resize(rig: Rig, **amounts: str) -> None:
    def change(pod: dict[str, Any]) -> dict[str, Any]:
        resources = pod["spec"]["containers"][0]["resources"]
        for section in resources.values():
            section.update(amounts)
        pod["metadata"]["generation"] = pod["metadata"].get("generation", 1) + 1
        return pod

    rig.store.mutate(rig.key("web"), change)


def conditions(rig: Rig) -> dict[str, tuple[str, str]]:
    found = [c for c in rig.status()["conditions"] if "Resize" in c["type"]]
    return {c["type"]: (c.get("reason", ""), c.get("message", "")) for c in found}


@pytest.mark.looptime
async def test_a_resize_is_written_to_the_running_container_and_told(rig: Rig) -> None:
    rig.create(make_pod("web", sized("100m", "64Mi")))
    await asyncio.sleep(0.2)
    resize(rig, cpu="200m")
    await asyncio.sleep(0.2)
    assert rig.container()["restartCount"] == 0
    assert rig.container()["resources"]["limits"]["cpu"] == "200m"
    assert rig.container()["allocatedResources"]["cpu"] == "200m"
    assert [reason for reason, _ in rig.events() if "Resize" in reason] == ["ResizeStarted", "ResizeCompleted"]
    assert conditions(rig) == {}
    (status,) = rig.runtime.list_containers()
    assert status.resources.cpu_quota_us == 20_000


@pytest.mark.looptime
async def test_a_container_restarts_for_its_limits_when_its_policy_says_so(rig: Rig) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    rig.create(make_pod("web", sized("100m", "64Mi", resizePolicy=policy)))
    await asyncio.sleep(0.2)
    resize(rig, memory="128Mi")
    await asyncio.sleep(1)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["resources"]["limits"]["memory"] == "128Mi"
    told = [reason for reason, _ in rig.events()]
    assert told.index("Killing") < told.index("ResizeCompleted")
    assert ("Killing", "Container main resize requires restart") in rig.events()


@pytest.mark.looptime
async def test_a_deferred_resize_waits_until_another_pod_goes(rig: Rig) -> None:
    rig.create(make_pod("other", sized("1500m", "64Mi")))
    rig.create(make_pod("web", sized("100m", "64Mi")))
    await asyncio.sleep(0.2)
    resize(rig, cpu="1")
    await asyncio.sleep(0.2)
    text = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    assert conditions(rig) == {"PodResizePending": ("Deferred", text)}
    assert rig.container()["resources"]["limits"]["cpu"] == "100m"
    await rig.restart()
    await asyncio.sleep(0.2)
    assert rig.container()["resources"]["limits"]["cpu"] == "100m", "also for the next kubelet"
    rig.delete("other", grace_s=0)
    await asyncio.sleep(1)
    assert conditions(rig) == {}
    assert rig.container()["resources"]["limits"]["cpu"] == "1"
    resize(rig, cpu="10")
    await asyncio.sleep(0.2)
    assert conditions(rig)["PodResizePending"][0] == "Infeasible"


@pytest.mark.looptime
async def test_a_kernel_that_refuses_is_asked_again_and_told_of(rig: Rig) -> None:
    rig.create(make_pod("web", sized("100m", "64Mi")))
    await asyncio.sleep(0.2)
    rig.runtime.fail["update_container_resources"] = [PodhostError("no room")]
    resize(rig, memory="32Mi")
    await asyncio.sleep(0.1)
    assert conditions(rig) == {"PodResizeInProgress": ("Error", "no room")}
    assert rig.container()["resources"]["limits"]["memory"] == "64Mi", "not yet"
    assert rig.container()["allocatedResources"]["memory"] == "32Mi"
    await asyncio.sleep(3)
    assert conditions(rig) == {}
    assert rig.container()["resources"]["limits"]["memory"] == "32Mi"
