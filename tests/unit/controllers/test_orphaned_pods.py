"""Pods of a node that does not exist are gone after a while, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.controllers import OrphanedPodController
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

pytestmark = pytest.mark.looptime


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    clock = SystemClock()
    store = Store(tmp_path / "store.db", clock)
    add_node(store, "n1")
    controller = OrphanedPodController(store, clock)
    await controller.start()
    yield store
    await controller.stop()
    store.close()


def add_node(store: Store, name: str) -> None:
    store.create(ObjectKey("nodes", "", name), {"metadata": {"name": name, "uid": name}, "spec": {}})


def put(store: Store, name: str, node: str, phase: str = "Pending", uid: str = "", **metadata: Any) -> None:
    full = {"name": name, "namespace": "default", "uid": uid or name, **metadata}
    spec = {"nodeName": node, "containers": []} if node else {"containers": []}
    store.create(ObjectKey("pods", "default", name), {"metadata": full, "spec": spec, "status": {"phase": phase}})


def names(store: Store) -> list[str]:
    return [pod["metadata"]["name"] for pod in store.list("pods")[0]]


async def test_pod_of_an_absent_node_is_deleted_after_the_quarantine_and_others_stay(store: Store) -> None:
    for name, node in (("lost", "gone"), ("fine", "n1"), ("unbound", "")):
        put(store, name, node)
    await asyncio.sleep(39)
    assert names(store) == ["fine", "lost", "unbound"]
    await asyncio.sleep(2)
    assert names(store) == ["fine", "unbound"]


async def test_pod_with_a_finalizer_has_failed_and_says_why(store: Store) -> None:
    put(store, "kept", "gone", "Running", finalizers=["example.com/x"])
    put(store, "done", "gone", "Succeeded", finalizers=["example.com/x"])
    await asyncio.sleep(41)
    kept, done = (store.get(ObjectKey("pods", "default", name)) for name in ("kept", "done"))
    assert kept["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (kept["status"]["phase"], done["status"]["phase"]) == ("Failed", "Succeeded")
    (condition,) = kept["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("DisruptionTarget", "True")
    assert (condition["reason"], condition["message"]) == ("DeletionByPodGC", "PodGC: node no longer exists")


async def test_pod_that_waits_for_the_end_of_its_grace_period_on_an_absent_node_is_deleted(store: Store) -> None:
    ending: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    put(store, "ending", "gone", "Running", **ending)
    await asyncio.sleep(41)
    assert names(store) == []


async def test_node_that_comes_in_time_keeps_its_pods_and_one_that_goes_loses_them(store: Store) -> None:
    put(store, "early", "late")
    await asyncio.sleep(30)
    add_node(store, "late")
    await asyncio.sleep(60)
    assert names(store) == ["early"]
    store.delete(ObjectKey("nodes", "", "late"))
    await asyncio.sleep(39)
    assert names(store) == ["early"]
    await asyncio.sleep(2)
    assert names(store) == []


async def test_another_pod_of_the_name_has_a_time_of_its_own(store: Store) -> None:
    put(store, "twice", "gone", uid="first")
    await asyncio.sleep(30)
    store.delete(ObjectKey("pods", "default", "twice"))
    put(store, "twice", "gone", uid="second")
    await asyncio.sleep(30)
    assert names(store) == ["twice"]
    await asyncio.sleep(11)
    assert names(store) == []
