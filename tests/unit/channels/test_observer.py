"""The observer between store, runtime and kernel; the kernel's facts are made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.channel_world import make_process
from harness.cri_fakes import FakeRuntime
from podhost.aiokit.clock import FakeClock
from podhost.channels import snapshot as module
from podhost.channels.observer import ChannelObserver
from podhost.channels.snapshot import PodSnapshot, PodTarget
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import (
    ContainerEventType,
    ContainerState,
    ContainerStatus,
    PodSandboxStatus,
    SandboxState,
)
from podhost.errors import NotFoundError
from podhost.linux.sock_diag import InetSocket
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

KEY = ObjectKey("pods", "default", "p")


@dataclass
class Bench:
    """An observer of the pod ``p`` with the containers ``a`` and ``b``."""

    store: Store
    runtime: FakeRuntime
    observer: ChannelObserver
    logs: Path
    targets: list[PodTarget] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def event(self, involved: dict[str, Any], type: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.events.append((reason, message, field_path))

    def observe_snapshot(self, target: PodTarget) -> PodSnapshot:
        self.targets.append(target)
        return PodSnapshot(target=target, **self.facts)

    def set_container(self, name: str, pid: int, *, exit_code: int = 0, attempt: int = 0) -> ContainerStatus:
        status = ContainerStatus(
            id=ContainerId(f"id-{name}-{attempt}"),
            sandbox_id=SandboxId("s"),
            pod_uid=PodUID("u"),
            pod_namespace="default",
            pod_name="p",
            name=name,
            attempt=attempt,
            state=ContainerState.RUNNING if pid else ContainerState.EXITED,
            image_ref="i",
            image_id=ImageId("i"),
            created_at_ns=attempt + 1,
            exit_code=exit_code,
            log_path=self.logs / f"{name}-{attempt}.log",
            pid=pid,
        )
        self.runtime.containers[status.id] = status
        return status

    async def settle(self) -> None:
        """Until everything that was started in the background has ended."""
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    store, runtime = Store(tmp_path / "objects.db", clock), FakeRuntime(clock)
    created: list[Bench] = []

    class Recorder:
        def event(self, *args: Any, **kwargs: Any) -> None:
            created[0].event(*args, **kwargs)

    observer = ChannelObserver(store, runtime, Recorder(), clock)
    bench = Bench(store, runtime, observer, tmp_path)
    created.append(bench)
    monkeypatch.setattr(module, "observe_snapshot", bench.observe_snapshot)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "labels": {"x": "y"}},
        "spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v/"}]}, {"name": "b"}],
        },
        "status": {},
    }
    store.create(KEY, pod)
    runtime.sandboxes[SandboxId("s")] = PodSandboxStatus(
        id=SandboxId("s"),
        namespace="default",
        name="p",
        uid=PodUID("u"),
        attempt=0,
        state=SandboxState.READY,
        created_at_ns=1,
        netns_path=Path("/ns/net"),
    )
    observer.start()
    yield bench
    await observer.stop()
    store.close()


async def test_a_pod_is_looked_at_only_when_asked(bench: Bench) -> None:
    bench.runtime._emit(ContainerEventType.STARTED, bench.set_container("a", 100))
    bench.store.mutate(KEY, lambda pod: {**pod, "status": {"phase": "Running"}})
    await bench.settle()
    assert bench.targets == []


async def test_the_resource_is_named_as_its_pod_and_owned_by_it(bench: Bench) -> None:
    bench.set_container("a", 100)
    seen = await bench.observer.observe("default", "p")
    assert (seen["kind"], seen["metadata"]["name"], seen["metadata"]["labels"]) == ("PodChannels", "p", {"x": "y"})
    assert seen["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert seen["observedAt"].startswith("2026-01-01T00:00:00")
    assert [(c["name"], c["state"]) for c in seen["containers"]] == [("a", "running"), ("b", "waiting")]
    (target,) = bench.targets
    assert (target.netns, target.mount_points["a"]) == (Path("/ns/net"), ("/v",))
    with pytest.raises(NotFoundError):
        await bench.observer.observe("default", "other")


async def test_all_pods_of_a_namespace_are_observed(bench: Bench) -> None:
    assert [seen["metadata"]["name"] for seen in await bench.observer.observe_all("default")] == ["p"]
    assert await bench.observer.observe_all("elsewhere") == []


async def test_the_host_network_is_not_taken_for_the_pods(bench: Bench) -> None:
    sandbox = bench.runtime.sandboxes[SandboxId("s")]
    bench.runtime.sandboxes[SandboxId("s")] = replace(sandbox, host_network=True)
    await bench.observer.observe("default", "p")
    assert bench.targets[0].netns is None


async def test_first_processes_and_all_that_were_seen_are_remembered_until_the_pod_goes(bench: Bench) -> None:
    bench.runtime._emit(ContainerEventType.STARTED, bench.set_container("a", 100))
    bench.facts = {"processes": {201: ("b", make_process(201, "beta"))}}
    bench.set_container("b", 200)
    await bench.observer.observe("default", "p")
    await bench.observer.observe("default", "p")
    assert bench.targets[1].earlier_pids == {100: "a", 201: "b"}
    bench.store.delete(KEY)
    assert bench.observer._earlier == {}


async def test_subscribers_hear_of_every_change_of_a_pod(bench: Bench) -> None:
    heard: list[tuple[str, str]] = []
    undo = bench.observer.subscribe(lambda namespace, name: heard.append((namespace, name)))
    bench.runtime._emit(ContainerEventType.STARTED, bench.set_container("a", 100))
    bench.store.mutate(KEY, lambda pod: {**pod, "status": {"phase": "Running"}})
    undo()
    bench.runtime._emit(ContainerEventType.STOPPED, bench.set_container("a", 0))
    assert heard == [("default", "p")] * 2


def hold_port(bench: Bench) -> None:
    bench.set_container("a", 100)
    bench.facts = {
        "processes": {100: ("a", make_process(100, "alpha"))},
        "inet": (InetSocket("tcp", 4, "LISTEN", "0.0.0.0", 80, "0.0.0.0", 0, 9, 0),),
        "socket_owners": {9: (100,)},
    }


async def test_a_container_that_fails_for_a_held_port_gets_an_event(bench: Bench) -> None:
    hold_port(bench)
    failed = bench.set_container("b", 0, exit_code=1)
    failed.log_path.write_text("2026-01-01T00:00:00Z stderr F bind 0.0.0.0:80: address already in use\n")
    bench.runtime._emit(ContainerEventType.STOPPED, failed)
    await bench.settle()
    text = 'container "b" wants port 80, which container "a" (process alpha, pid 100) holds'
    assert bench.events == [("PortInUse", text, "spec.containers{b}")]


@pytest.mark.parametrize(("code", "line"), [(0, "address already in use"), (1, "some other trouble")])
async def test_other_ends_of_containers_are_not_looked_into(bench: Bench, code: int, line: str) -> None:
    hold_port(bench)
    ended = bench.set_container("b", 0, exit_code=code)
    ended.log_path.write_text(f"2026-01-01T00:00:00Z stderr F {line}\n")
    bench.runtime._emit(ContainerEventType.STOPPED, ended)
    await bench.settle()
    assert bench.events == []
    assert bench.targets == []
