"""Pods leave a node with a NoExecute taint when their time is up, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.controllers import TaintEvictionController
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

pytestmark = pytest.mark.looptime

NODE = ObjectKey("nodes", "", "n1")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    clock = SystemClock()
    store = Store(tmp_path / "store.db", clock)
    store.create(NODE, {"metadata": {"name": "n1", "uid": "n"}, "spec": {}})
    recorder = EventRecorder(store, clock, "taint-eviction-controller", "n1")
    controller = TaintEvictionController(store, clock, "n1", recorder)
    await controller.start()
    yield store
    await controller.stop()
    store.close()


def put(store: Store, name: str, *tolerations: dict[str, Any]) -> None:
    metadata = {"name": name, "namespace": "default", "uid": name}
    spec = {"nodeName": "n1", "tolerations": list(tolerations), "containers": []}
    store.create(ObjectKey("pods", "default", name), {"metadata": metadata, "spec": spec, "status": {}})


def taint(store: Store, *taints: dict[str, str]) -> None:
    store.mutate(NODE, lambda node: {**node, "spec": {"taints": list(taints)}})


def deleted(store: Store) -> list[str]:
    return [p["metadata"]["name"] for p in store.list("pods")[0] if "deletionTimestamp" in p["metadata"]]


def messages(store: Store) -> list[str]:
    return [event["message"] for event in store.list("events")[0]]


GONE = {"key": "gone", "effect": "NoExecute"}
EXISTS = {"key": "gone", "operator": "Exists"}


async def test_pods_are_deleted_at_once_later_or_never(store: Store) -> None:
    put(store, "none")
    put(store, "some", {**EXISTS, "tolerationSeconds": 30})
    put(store, "ever", EXISTS)
    await asyncio.sleep(1)
    assert deleted(store) == []
    taint(store, GONE)
    await asyncio.sleep(1)
    assert deleted(store) == ["none"]
    assert messages(store) == ["Marking for deletion Pod default/none"]
    (condition,) = store.get(ObjectKey("pods", "default", "none"))["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "DeletionByTaintManager")
    await asyncio.sleep(28)
    assert deleted(store) == ["none"]
    await asyncio.sleep(2)
    assert deleted(store) == ["none", "some"]
    await asyncio.sleep(3600)
    assert deleted(store) == ["none", "some"]


async def test_a_taint_that_goes_in_time_deletes_nobody(store: Store) -> None:
    put(store, "some", {**EXISTS, "tolerationSeconds": 30})
    taint(store, GONE)
    await asyncio.sleep(20)
    taint(store)
    await asyncio.sleep(60)
    assert deleted(store) == []
    assert messages(store) == ["Cancelling deletion of Pod default/some"]


async def test_a_pod_that_comes_to_a_tainted_node_goes(store: Store) -> None:
    taint(store, GONE, {"key": "full", "effect": "NoSchedule"})
    put(store, "late")
    await asyncio.sleep(1)
    assert deleted(store) == ["late"]
