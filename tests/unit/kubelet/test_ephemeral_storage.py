"""Who uses more local disk than it may, in the kubelet's words; and the end of such a pod, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import Rig, make_pod
from podhost.api import models
from podhost.kubelet.ephemeral_storage import find_exceeded

MI = 1 << 20


def container(name: str, limit: str = "") -> dict[str, Any]:
    return {"name": name, **({"resources": {"limits": {"ephemeral-storage": limit}}} if limit else {})}


def find(used: dict[str, int], volumes_bytes: int, *containers: dict[str, Any], **spec: Any) -> str | None:
    return find_exceeded(msgspec.convert(make_pod("web", *containers, **spec), models.Pod), used, volumes_bytes)


def test_a_pod_may_use_what_its_containers_may_together_volumes_included() -> None:
    both = (container("a", "10Mi"), container("b", "20Mi"))
    assert find({"a": 9 * MI, "b": 9 * MI}, 11 * MI, *both) is None
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. "
    assert find({"a": 9 * MI, "b": 9 * MI}, 13 * MI, *both) == text
    assert find({"a": 0, "b": 99 * MI}, 0, container("a", "10Mi"), container("b")) is not None


def test_a_container_may_use_only_its_own_part() -> None:
    text = 'Container a exceeded its local ephemeral storage limit "10Mi". '
    assert find({"a": 11 * MI, "b": 0}, 0, container("a", "10Mi"), container("b", "20Mi")) == text


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
