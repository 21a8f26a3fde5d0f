"""The node that the kubelet registers, and its lease."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from harness.kubelet_rig import Rig
from podhost.kubelet.node import register_node
from podhost.store.keys import ObjectKey

pytestmark = pytest.mark.looptime


async def test_the_node_is_registered(rig: Rig) -> None:
    rig.kubelet.context.host = replace(rig.kubelet.context.host, huge_pages={})
    register_node(rig.kubelet.context)
    node = rig.store.get(ObjectKey("nodes", "", "n1"))
    capacity, allocatable = node["status"]["capacity"], node["status"]["allocatable"]
    disk = int(capacity.pop("ephemeral-storage").removesuffix("Ki")) * 1024
    assert capacity == {"cpu": "2", "memory": "4194304Ki", "pods": "1000"}
    assert int(allocatable.pop("ephemeral-storage")) == disk  # nothing is kept back without a threshold
    assert allocatable == capacity
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"


async def test_huge_pages_of_the_host_are_capacity_and_not_to_be_had_as_memory(rig: Rig) -> None:
    rig.kubelet.context.host = replace(rig.kubelet.context.host, huge_pages={2 << 20: 16 << 20, 1 << 30: 0})
    register_node(rig.kubelet.context)
    status = rig.store.get(ObjectKey("nodes", "", "n1"))["status"]
    for part in (status["capacity"], status["allocatable"]):
        assert (part["hugepages-2Mi"], part["hugepages-1Gi"]) == ("16Mi", "0")
    assert (status["capacity"]["memory"], status["allocatable"]["memory"]) == ("4194304Ki", "4177920Ki")


async def test_deleted_node_registers_again_at_once(rig: Rig) -> None:
    key = ObjectKey("nodes", "", rig.settings.node_name)
    old = rig.store.delete(key)
    await asyncio.sleep(0.1)
    assert rig.store.get(key)["metadata"]["uid"] != old["metadata"]["uid"]


async def test_the_node_always_has_a_lease_that_goes_with_it(rig: Rig) -> None:
    node, lease = ObjectKey("nodes", "", "n1"), ObjectKey("leases.coordination.k8s.io", "kube-node-lease", "n1")

    def owner_and_holder() -> tuple[str, str]:
        found = rig.store.get(lease)
        return found["metadata"]["ownerReferences"][0]["uid"], found["spec"]["holderIdentity"]

    first = rig.store.get(node)["metadata"]["uid"]
    assert owner_and_holder() == (first, "n1")
    rig.store.delete(lease)
    await asyncio.sleep(0.1)
    assert owner_and_holder() == (first, "n1")
    rig.store.delete(node)
    await asyncio.sleep(0.1)
    second = rig.store.get(node)["metadata"]["uid"]
    assert owner_and_holder() == (second, "n1")
    before = rig.store.get(lease)["spec"]["renewTime"]
    version = rig.store.current_rv()
    await asyncio.sleep(2 * rig.settings.relist_interval_s)
    assert rig.store.current_rv() == version, "an idle node writes nothing"
    await rig.restart()
    assert rig.store.get(lease)["spec"]["renewTime"] > before
