"""Pods whose volumes cannot be mounted, or not follow their objects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.kubelet_rig import Rig, make_pod
from podhost.cri.volumes import VolumeError
from podhost.store.keys import ObjectKey

pytestmark = pytest.mark.looptime


async def test_missing_config_map_is_a_config_error_until_it_appears(rig: Rig) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}]
    rig.create(make_pod("web", {"name": "main", "env": env}))
    await asyncio.sleep(1)
    assert rig.container()["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "conf" not found',
    }
    assert ("Failed", 'Error: configmap "conf" not found') in rig.events()
    document = {"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1"}}
    rig.store.create(ObjectKey("configmaps", "default", "conf"), document)
    await asyncio.sleep(1)
    assert rig.status()["phase"] == "Running"
    config = next(iter(rig.runtime.configs.values()))
    assert ("A", "1") in config.env
    assert rig.volumes.refreshed == [("ConfigMap", "default", "conf")]


@pytest.mark.parametrize(("namespace", "told"), [({}, True), ({"deletionTimestamp": "2026-01-02T03:04:05Z"}, False)])
async def test_running_pod_whose_volume_cannot_follow_its_object_is_told_so(
    rig: Rig, namespace: dict[str, Any], told: bool
) -> None:
    rig.store.create(ObjectKey("namespaces", "", "default"), {"metadata": {"name": "default", **namespace}})
    rig.create(make_pod("web", volumes=[{"name": "v", "configMap": {"name": "conf"}}]))
    await asyncio.sleep(1)
    rig.volumes.stale = [text := 'MountVolume.SetUp failed for volume "v" : configmap "conf" not found']
    key = ObjectKey("configmaps", "default", "conf")
    rig.store.create(key, {"metadata": {"name": "conf", "namespace": "default"}})
    await asyncio.sleep(1)
    assert (("FailedMount", text) in rig.events()) == told
    assert rig.status()["phase"] == "Running"


async def test_volume_that_cannot_follow_its_object_is_tried_at_a_growing_distance_until_it_can(rig: Rig) -> None:
    rig.store.create(ObjectKey("namespaces", "", "default"), {"metadata": {"name": "default"}})
    rig.create(make_pod("web", volumes=[{"name": "v", "configMap": {"name": "conf"}}]))
    await asyncio.sleep(1)
    tried = rig.volumes.refreshed_pods
    tried.clear()

    def told() -> list[str]:
        return [text for reason, text in rig.events() if reason == "FailedMount"]

    rig.volumes.stale = ["v fails"]
    key = ObjectKey("configmaps", "default", "conf")
    document = rig.store.create(key, {"metadata": {"name": "conf", "namespace": "default"}})
    for wait_s, tries in ((0.1, 0), (0.5, 1), (0.8, 1), (0.2, 2), (2.0, 3), (4.0, 4)):
        await asyncio.sleep(wait_s)
        assert (len(tried), told()) == (tries, ["v fails"] * (tries + 1))
    # A change in between says what is new, and hurries nothing.
    rig.volumes.stale = ["v fails", "w fails"]
    rig.store.update(key, {**document, "data": {"a": "1"}})
    await asyncio.sleep(0.1)
    assert (len(tried), told()) == (4, ["v fails"] * 5 + ["w fails"])
    rig.volumes.stale = []
    await asyncio.sleep(8)
    assert len(tried) == 5
    await asyncio.sleep(600)
    assert (len(tried), len(told())) == (5, 6)
    # The next failure begins anew; one of a pod that has gone is nobody's.
    rig.volumes.stale = ["v fails"]
    rig.store.update(key, {**rig.store.get(key), "data": {"a": "2"}})
    await asyncio.sleep(0.6)
    assert (len(tried), len(told())) == (6, 8)
    rig.delete("web", 0)
    await asyncio.sleep(600)
    assert len(tried) == 6


async def test_volume_that_cannot_be_mounted_is_tried_again(rig: Rig) -> None:
    rig.volumes.errors = [VolumeError('MountVolume.SetUp failed for volume "v" : secret "s" not found')] * 2
    rig.create(make_pod())
    await asyncio.sleep(0.2)
    assert rig.status()["phase"] == "Pending"
    await asyncio.sleep(3)
    assert rig.status()["phase"] == "Running"
    assert ("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "s" not found') in rig.events()
    assert len(rig.runtime.sandboxes) == 1


async def test_sandbox_is_shown_when_the_volumes_are_mounted(rig: Rig) -> None:
    """They are made at the same time; a kubelet mounts first."""
    rig.volumes.errors = [VolumeError("no secret")]
    rig.create(make_pod())

    def is_shown() -> tuple[bool, str]:
        ready = next(c for c in rig.status()["conditions"] if c["type"] == "PodReadyToStartContainers")
        return "podIP" in rig.status(), ready["status"]

    await asyncio.sleep(0.4)
    assert len(rig.runtime.sandboxes) == 1
    assert is_shown() == (False, "False")
    await asyncio.sleep(1)
    assert is_shown() == (True, "True")


async def test_each_volume_that_cannot_be_mounted_has_its_event(rig: Rig) -> None:
    rig.volumes.errors = [VolumeError("first fails", "second fails")]
    rig.create(make_pod())
    await asyncio.sleep(0.2)
    assert [text for reason, text in rig.events() if reason == "FailedMount"] == ["first fails", "second fails"]
