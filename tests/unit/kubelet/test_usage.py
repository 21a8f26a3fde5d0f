"""When samples are taken, and what averages come out of them, in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.cri_fakes import FakeRuntime
from podhost.aiokit.clock import FakeClock
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.stats import ContainerStats, ContainerUsage, CpuUsage, IoUsage
from podhost.kubelet.usage import UsageObserver
from podhost.kubelet.usage_window import MAX_AGE_S, Sample, UsageWindows, compute_rates
from podhost.linux.usage import CgroupUse, MemoryUse

POD: dict[str, Any] = {
    "metadata": {"uid": "u", "name": "web", "namespace": "default"},
    "spec": {"initContainers": [{"name": "side"}], "containers": [{"name": "b"}, {"name": "a"}]},
}
S = 1_000_000_000


class World:
    """Containers that use half a processor, write 100 bytes a second, and are as old as a test says."""

    def __init__(self, *names: str, age_s: float = 3600) -> None:
        self.clock = FakeClock()
        self.runtime = FakeRuntime(self.clock)
        self.runtime.stats = lambda: [self.measure(name) for name in names]
        self.started_ns = self.clock.now_ns() - round(age_s * S)
        self.observer = UsageObserver(self.runtime, self.clock, self.measure_machine)

    def elapsed_ns(self) -> int:
        return self.clock.now_ns() - self.started_ns

    def measure(self, name: str) -> ContainerStats:
        return ContainerStats(
            id=ContainerId(name),
            pod_uid=PodUID("u"),
            name=name,
            started_at_ns=self.started_ns,
            cpu=CpuUsage(timestamp_ns=self.clock.now_ns(), usage_core_ns=self.elapsed_ns() // 2),
            io=IoUsage(read_bytes=0, written_bytes=self.elapsed_ns() * 100 // S),
        )

    def measure_machine(self) -> CgroupUse:
        return CgroupUse(cpu_ns=self.elapsed_ns(), memory=MemoryUse(usage_bytes=100, inactive_file_bytes=40))

    async def look(self) -> tuple[ContainerUsage, ...]:
        return (await self.observer.observe_pods([POD]))[PodUID("u")]


@pytest.mark.looptime
async def test_the_first_look_takes_a_second_and_the_next_none() -> None:
    world, loop = World("a"), asyncio.get_running_loop()
    (usage,) = await world.look()
    assert loop.time() == 1
    assert usage.rates is not None
    assert (usage.rates.window_s, usage.rates.nano_cores) == (1, S // 2)
    assert usage.rates.written_bytes_per_s == 100
    await asyncio.sleep(9)
    (usage,) = await world.look()
    assert loop.time() == 10
    assert usage.rates is not None
    assert usage.rates.window_s == 9
    await asyncio.sleep(MAX_AGE_S + 1)
    calls = len(world.runtime.calls)
    assert calls == 3, "nothing is measured while nobody looks"
    await world.look()
    assert loop.time() == 10 + MAX_AGE_S + 2, "a sample of long ago says nothing about now"


@pytest.mark.looptime
async def test_a_young_container_is_measured_since_its_start() -> None:
    (usage,) = await World("a", age_s=20).look()
    assert asyncio.get_running_loop().time() == 0
    assert usage.rates is not None
    assert (usage.rates.window_s, usage.rates.nano_cores) == (20, S // 2)


@pytest.mark.looptime
async def test_containers_come_in_the_order_of_the_spec_and_unknown_ones_not_at_all() -> None:
    assert [each.stats.name for each in await World("a", "b", "side", "other").look()] == ["side", "b", "a"]


@pytest.mark.looptime
async def test_a_container_that_ends_within_the_window_is_left_out() -> None:
    world = World("a", "b")
    looking = asyncio.create_task(world.look())
    await asyncio.sleep(0.5)
    world.runtime.stats = lambda: [world.measure("b")]
    assert [each.stats.name for each in await looking] == ["b"]


@pytest.mark.looptime
async def test_the_machine_is_measured_over_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(fn: Callable[..., Any], /, *args: Any) -> Any:
        return fn(*args)

    world = World()
    monkeypatch.setattr(asyncio, "to_thread", call)
    monkeypatch.setattr(time, "monotonic_ns", world.clock.now_ns)
    usage = await world.observer.observe_node()
    assert (usage.window_s, usage.nano_cores, usage.memory.working_set_bytes) == (1, S, 60)


def test_many_who_look_leave_few_samples_and_always_one_of_a_second_ago() -> None:
    windows = UsageWindows()
    for tenth in range(1000):
        now = tenth * S // 10
        if tenth >= 20:
            start = windows.find_start("x", now)
            assert start is not None
            assert S <= now - start.at_ns <= 3 * S
        windows.add("x", Sample(now, 0))
        windows.forget_old(now)
    assert len(windows._samples["x"]) < 130
    windows.forget_old(10_000 * S)
    assert not windows._samples


def test_counters_that_went_back_count_as_nothing() -> None:
    rates = compute_rates(Sample(0, 500, 50, 50), Sample(S, 400, 10, 60))
    assert (rates.nano_cores, rates.read_bytes_per_s, rates.written_bytes_per_s) == (0, 0, 10)
