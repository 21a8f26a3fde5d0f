"""A whole kubelet on fakes, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.cri_fakes import FakeImages, FakeRuntime, FakeVolumes
from harness.kubelet_rig import EventLog, Rig
from podhost.aiokit.clock import FakeClock
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.settings import KubeletSettings
from podhost.store.store import Store

T = TypeVar("T")


async def _call_directly(fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Virtual time does not wait for threads; the files of these tests are tiny."""
    await asyncio.sleep(0)
    return fn(*args, **kwargs)


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(asyncio, "to_thread", _call_directly)
    clock = FakeClock()
    store = Store(tmp_path / "store.db", clock)
    settings = KubeletSettings(
        node_name="n1",
        log_dir=tmp_path / "logs",
        state_dir=tmp_path / "state",
        host_ips=("192.168.0.1",),
        cpu_millis=2000,
        memory_bytes=4 << 30,
    )
    runtime, images, volumes = FakeRuntime(clock), FakeImages(), FakeVolumes()
    images.add("nginx:1")
    recorder = EventLog()
    kubelet = Kubelet(settings, store, runtime, images, volumes, recorder, clock)
    rig = Rig(store, clock, runtime, images, volumes, settings, kubelet, recorder)
    undo = store.subscribe("pods", lambda e: rig.versions.append(e.object))
    await rig.start()
    yield rig
    await rig.kubelet.stop()
    undo()
    store.close()
