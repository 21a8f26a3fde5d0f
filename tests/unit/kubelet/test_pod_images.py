"""Images of pods: pulled, not to be had, exchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.cri_fakes import Script
from harness.kubelet_rig import Rig, make_pod
from podhost.cri.images import ImagePullError

pytestmark = pytest.mark.looptime


async def test_image_that_does_not_exist_is_reported_and_backs_off(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "main", "image": "nosuch:1"}, {"name": "good"}))
    await asyncio.sleep(0.5)
    assert rig.container("main")["state"]["waiting"] == {
        "reason": "ErrImagePull",
        "message": 'failed to pull and unpack image "nosuch:1": nosuch:1: not found',
    }
    assert "running" in rig.container("good")["state"]
    await asyncio.sleep(3)
    assert rig.container("main")["state"]["waiting"] == {
        "reason": "ImagePullBackOff",
        "message": 'Back-off pulling image "nosuch:1": ErrImagePull: '
        'failed to pull and unpack image "nosuch:1": nosuch:1: not found',
    }
    assert rig.status()["phase"] == "Pending"
    events = rig.events()
    assert ("Pulling", 'Pulling image "nosuch:1"') in events
    assert (
        "Failed",
        'Failed to pull image "nosuch:1": failed to pull and unpack image "nosuch:1": nosuch:1: not found',
    ) in events
    assert ("Failed", "Error: ErrImagePull") in events
    assert ("BackOff", 'Back-off pulling image "nosuch:1"') in events
    rig.images.remote.add("nosuch:1")
    await asyncio.sleep(30)
    assert rig.status()["phase"] == "Running"
    assert len(rig.images.pulls) == 2


async def test_pull_errors_delay_the_next_pull_longer_each_time(rig: Rig) -> None:
    rig.images.errors["slow:1"] = [ImagePullError("refused") for _ in range(3)]
    rig.images.remote.add("slow:1")
    rig.create(make_pod("web", {"name": "main", "image": "slow:1"}))
    await asyncio.sleep(69)
    assert len(rig.images.pulls) == 3
    await asyncio.sleep(2)
    assert len(rig.images.pulls) == 4
    assert rig.status()["phase"] == "Running"


async def test_pod_deleted_while_its_image_is_pulled_is_gone_at_once(rig: Rig) -> None:
    rig.images.remote.add("big:1")
    rig.images.pull_s = 600
    rig.create(make_pod("web", {"name": "main", "image": "big:1"}))
    await asyncio.sleep(5)
    rig.delete("web")
    await asyncio.sleep(0.5)
    assert rig.pod() is None
    assert rig.images.cancelled == ["big:1"]
    assert rig.runtime.sandboxes == {}
    assert rig.volumes.mounted == set()


async def test_what_is_wrong_with_an_image_name_is_told(rig: Rig) -> None:
    rig.create(make_pod("web", {"name": "main", "image": "Shop"}))
    await asyncio.sleep(0.2)
    assert rig.container()["state"]["waiting"] == {
        "reason": "InvalidImageName",
        "message": 'Failed to apply default image tag "Shop": couldn\'t parse image name "Shop": '
        "invalid reference format: repository name (library/Shop) must be lowercase",
    }


async def test_changed_image_restarts_the_container(rig: Rig) -> None:
    rig.images.add("nginx:2")
    rig.create(make_pod())
    await asyncio.sleep(1)

    def change(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["image"] = "nginx:2"
        pod["metadata"]["generation"] = 2
        return pod

    rig.store.mutate(rig.key("web"), change)
    await asyncio.sleep(1)
    assert rig.container()["restartCount"] == 1
    assert rig.container()["image"] == "docker.io/library/nginx:2"
    assert rig.status()["observedGeneration"] == 2
    assert ("Killing", "Container main definition changed, will be restarted") in rig.events()


def _set_image(rig: Rig, image: str) -> None:
    def change(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["image"] = image
        pod["metadata"]["generation"] += 1
        return pod

    rig.store.mutate(rig.key("web"), change)


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
async def test_container_with_another_image_is_started_again_whatever_the_policy(rig: Rig, policy: str) -> None:
    rig.images.remote.add("nginx:2")
    rig.runtime.scripts["main"] = [Script(term_code=0)]
    rig.create(make_pod(restartPolicy=policy))
    await asyncio.sleep(1)
    _set_image(rig, "nginx:2")
    await asyncio.sleep(1)
    assert rig.container()["restartCount"] == 1
    assert "running" in rig.container()["state"]
    assert rig.container()["image"].endswith("nginx:2")
    assert rig.phases() == ["Pending", "Running"]
    assert ("Killing", "Container main definition changed, will be restarted") in rig.events()


async def test_container_that_had_ended_is_not_started_for_its_new_image_under_never(rig: Rig) -> None:
    rig.runtime.scripts["main"] = [Script(run_s=1)]
    rig.create(make_pod("web", {"name": "main"}, {"name": "stays"}, restartPolicy="Never"))
    await asyncio.sleep(2)
    _set_image(rig, "nginx:2")
    await asyncio.sleep(2)
    assert rig.container()["restartCount"] == 0
    assert "terminated" in rig.container()["state"]
