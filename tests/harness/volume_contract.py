"""What every PodVolumes does, the real one and the fake that other tests believe: one suite for both.

A subclass gives the fixture ``volumes``, in which a ConfigMap ``ns/there`` exists.  It is not collected by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.cri.volumes import PodVolumes, VolumeError

EMPTY = {"name": "e", "emptyDir": {}}
CONFIG = {"name": "c", "configMap": {"name": "there"}}
LOST = {"name": "l", "configMap": {"name": "lost"}}


def build(*volumes: Mapping[str, Any], mounts: tuple[Mapping[str, Any], ...] = ()) -> models.Pod:
    spec = {"volumes": list(volumes), "containers": [{"name": "main", "image": "i", "volumeMounts": list(mounts)}]}
    return msgspec.convert({"metadata": {"name": "p", "namespace": "ns", "uid": "u1"}, "spec": spec}, models.Pod)


class VolumeContract:
    """Mounting, binding and unmounting."""

    async def test_each_volume_is_mounted_once(self, volumes: PodVolumes) -> None:
        pod = build(EMPTY, CONFIG)
        mounted = await volumes.mount_volumes(pod)
        assert {name: volume.read_only for name, volume in mounted.items()} == {"e": False, "c": True}
        assert len({volume.host_path for volume in mounted.values()}) == 2
        assert await volumes.mount_volumes(pod) == mounted
        assert volumes.list_pods() == {"u1"}

    async def test_a_pod_without_volumes_leaves_no_trace(self, volumes: PodVolumes) -> None:
        assert await volumes.mount_volumes(build()) == {}
        assert volumes.list_pods() == set()

    async def test_a_failure_is_told_and_what_is_mounted_is_unmounted_later(self, volumes: PodVolumes) -> None:
        with pytest.raises(VolumeError, match=r'MountVolume\.SetUp failed for volume "l" : configmap "lost" not found'):
            await volumes.mount_volumes(build(EMPTY, LOST))
        assert volumes.list_pods() == {"u1"}
        await volumes.unmount_volumes(PodUID("u1"))
        assert volumes.list_pods() == set()

    async def test_a_container_gets_its_mounts_in_order(self, volumes: PodVolumes) -> None:
        wanted = ({"name": "c", "mountPath": "/c"}, {"name": "e", "mountPath": "/ro", "readOnly": True},
                  {"name": "e", "mountPath": "/rw"})  # fmt: skip
        pod = build(EMPTY, CONFIG, mounts=wanted)
        mounted = await volumes.mount_volumes(pod)
        binds = await volumes.container_mounts(pod, pod.spec.containers[0], mounted)
        assert [(b.container_path, b.read_only) for b in binds] == [("/c", True), ("/ro", True), ("/rw", False)]
        assert [b.host_path for b in binds] == [mounted[name].host_path for name in ("c", "e", "e")]

    async def test_a_volume_that_the_pod_does_not_have_is_an_error(self, volumes: PodVolumes) -> None:
        pod = build(EMPTY, mounts=({"name": "x", "mountPath": "/x"},))
        mounted = await volumes.mount_volumes(pod)
        with pytest.raises(VolumeError, match='cannot find volume "x" to mount into container "main"'):
            await volumes.container_mounts(pod, pod.spec.containers[0], mounted)

    async def test_unmounting_may_be_done_again_and_for_nobody(self, volumes: PodVolumes) -> None:
        await volumes.mount_volumes(build(EMPTY))
        for uid in ("u1", "u1", "nobody"):
            await volumes.unmount_volumes(PodUID(uid))
        assert volumes.list_pods() == set()
