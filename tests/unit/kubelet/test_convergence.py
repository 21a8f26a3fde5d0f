"""Whatever happens in whatever order, the pods end where they should, and nothing stays behind."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cri_fakes import FakeImages, FakeRuntime, FakeVolumes, Script
from harness.kubelet_rig import EventLog, Rig, make_pod
from podhost.aiokit.clock import FakeClock
from podhost.cri.images import ImagePullError
from podhost.cri.runtime import ContainerState
from podhost.cri.volumes import VolumeError
from podhost.errors import UnavailableError
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.settings import KubeletSettings
from podhost.store.store import Store

looptime = pytest.importorskip("looptime")

STEPS = st.lists(
    st.sampled_from(
        ["create", "delete", "force", "exit", "crash", "restart", "reboot", "fail-create", "fail-sandbox", "fail-mount",
         "fail-pull", "fail-stop", "wait", "tick"]
    ),
    max_size=25,
)  # fmt: skip
NAMES = ("p0", "p1")


class Scenario:
    """One random history."""

    def __init__(self, rig: Rig, policy: str) -> None:
        self.rig = rig
        self.policy = policy
        self.turn = 0

    async def do(self, step: str) -> None:
        self.turn += 1
        name = NAMES[self.turn % len(NAMES)]
        action = getattr(self, "_" + step.replace("-", "_"))
        result = action(name)
        if asyncio.iscoroutine(result):
            await result

    def _create(self, name: str) -> None:
        if self.rig.pod(name) is None:
            pod = make_pod(
                name,
                {"name": "a"},
                {"name": "b", "image": "far:1"},
                restartPolicy=self.policy,
                initContainers=[
                    {"name": "i", "image": "nginx:1"},
                    {"name": "s", "image": "nginx:1", "restartPolicy": "Always"},
                ],
            )
            pod["metadata"]["uid"] = f"uid-{name}-{self.turn}"
            self.rig.create(pod)

    def _delete(self, name: str) -> None:
        if self.rig.pod(name) is not None:
            self.rig.delete(name, 3)

    def _force(self, name: str) -> None:
        if self.rig.pod(name) is not None:
            self.rig.store.delete(self.rig.key(name))

    def _end_one(self, name: str, code: int) -> None:
        for container in self.rig.runtime.list_containers():
            if container.pod_name == name and container.state is ContainerState.RUNNING:
                self.rig.runtime.kill(container.id, code)
                return

    def _exit(self, name: str) -> None:
        self._end_one(name, 0)

    def _crash(self, name: str) -> None:
        self._end_one(name, 1)

    async def _restart(self, _: str) -> None:
        await self.rig.restart()

    async def _reboot(self, _: str) -> None:
        await self.rig.kubelet.stop()
        self.rig.runtime.reboot()
        await self.rig.restart()

    def _fail_create(self, _: str) -> None:
        self.rig.runtime.fail["create_container"].append(UnavailableError("disk full"))

    def _fail_sandbox(self, _: str) -> None:
        self.rig.runtime.fail["run_pod_sandbox"].append(UnavailableError("no address"))

    def _fail_stop(self, _: str) -> None:
        self.rig.runtime.fail["stop_pod_sandbox"].append(UnavailableError("busy"))

    def _fail_mount(self, _: str) -> None:
        self.rig.volumes.errors.append(VolumeError("no such secret"))

    def _fail_pull(self, _: str) -> None:
        self.rig.images.errors.setdefault("far:1", []).append(ImagePullError("refused"))

    async def _wait(self, _: str) -> None:
        await asyncio.sleep(15)

    async def _tick(self, _: str) -> None:
        await asyncio.sleep(0)


def _verify_converged(rig: Rig, policy: str) -> None:
    pods: dict[str, Any] = {p["metadata"]["uid"]: p for p in rig.store.list("pods")[0]}
    live = set(pods)
    assert {s.uid for s in rig.runtime.sandboxes.values()} <= live
    assert {c.pod_uid for c in rig.runtime.containers.values()} <= live
    assert rig.volumes.mounted <= live
    for uid, pod in pods.items():
        phase = pod["status"]["phase"]
        running = [c.name for c in rig.runtime.list_containers() if c.pod_uid == uid and c.pid]
        assert len(running) == len(set(running)), "one process for each container"
        if phase == "Running":
            assert {"a", "b", "s"} >= set(running) >= {"s"}
            if policy == "Always":
                assert sorted(running) == ["a", "b", "s"]
        else:
            assert phase in ("Succeeded", "Failed")
            assert policy != "Always"
            assert running == []
            assert uid not in rig.volumes.mounted


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, policy=st.sampled_from(["Always", "OnFailure", "Never"]))
def test_random_histories_converge(monkeypatch: pytest.MonkeyPatch, steps: list[str], policy: str) -> None:
    async def directly(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return fn(*args, **kwargs)

    async def scenario(root: Path) -> None:
        clock = FakeClock()
        store = Store(root / "store.db", clock)
        config = KubeletSettings(node_name="n1", log_dir=root / "logs", state_dir=root / "state", memory_bytes=1 << 30)
        runtime, images, volumes = FakeRuntime(clock), FakeImages(), FakeVolumes()
        images.add("nginx:1")
        images.remote.add("far:1")
        images.pull_s = 0.5
        runtime.sandbox_delay_s = 0.01
        runtime.scripts["i"] = [Script(run_s=0.2)]
        recorder = EventLog()
        kubelet = Kubelet(config, store, runtime, images, volumes, recorder, clock)
        rig = Rig(store, clock, runtime, images, volumes, config, kubelet, recorder)
        await kubelet.start()
        history = Scenario(rig, policy)
        for step in steps:
            await history.do(step)
        await asyncio.sleep(3000)  # Longer than any back-off.
        try:
            _verify_converged(rig, policy)
        finally:
            await rig.kubelet.stop()
            store.close()

    with tempfile.TemporaryDirectory() as directory, monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", directly)
        loop = looptime.new_event_loop()
        try:
            loop.run_until_complete(scenario(Path(directory)))
        finally:
            loop.close()
