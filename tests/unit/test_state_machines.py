"""docs/state-machines.md says what the code does, and all of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cri_fakes import FakeImages, FakeRuntime, FakeVolumes, Script
from harness.kubelet_rig import EventLog, Rig, make_pod
from podhost.aiokit.clock import FakeClock
from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.images import ImagePullError
from podhost.cri.runtime import ContainerConfig, ContainerState, PodSandboxConfig, SandboxState
from podhost.kubelet.image_policy import compute_image_decision
from podhost.kubelet.image_puller import ImagePuller, StartFailure
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.probe_state import (
    PROBE_KINDS,
    ProbeKind,
    ProbeSettings,
    Verdict,
    build_initial_state,
    compute_next_state,
)
from podhost.kubelet.settings import KubeletSettings
from podhost.runtime.records import (
    ContainerRecord,
    SandboxRecord,
    build_exited_record,
    compute_container_state,
    compute_sandbox_status,
)
from podhost.store.store import Store

pytest.importorskip("looptime")
pytestmark = pytest.mark.looptime
DOCUMENT = Path(__file__).parents[2] / "docs" / "state-machines.md"
_LINE = re.compile(r"^(?P<old>\S.*?) ──(?:(?P<event>.+?)──)?▶ (?P<new>.+)$")
Transition = tuple[str, str, str]


def read_machine(title: str) -> set[Transition]:
    """The transitions that the document draws under a heading."""
    section = re.split(r"^## ", DOCUMENT.read_text(), flags=re.M)
    (text,) = [part for part in section if part.startswith(title + "\n")]
    drawn = re.findall(r"```\n(.*?)```", text, flags=re.S)
    lines = [line for block in drawn for line in block.splitlines() if line]
    found = [match for line in lines if (match := _LINE.match(line))]
    assert len(found) == len(lines), "each drawn line is one transition"
    return {(match["old"], match["event"] or "", match["new"]) for match in found}


# -- container and sandbox ------------------------------------------------------------------------------------


def walk_container() -> Iterator[Transition]:
    config = ContainerConfig(name="c", attempt=0, image_id=ImageId("i"), image_ref="i", log_path=Path("/x"))
    created = ContainerRecord(
        id=ContainerId("c"), sandbox_id=SandboxId("s"), config=config, stop_signal="SIGTERM", created_at_ns=1
    )
    started = replace(created, started_at_ns=2)
    words = {ContainerState.CREATED: "created", ContainerState.RUNNING: "running", ContainerState.EXITED: "exited"}
    for event, old, new in (
        ("started", created, started),
        ("refused", created, build_exited_record(created, finished_at_ns=3, exit_code=128)),
        ("exited", started, build_exited_record(started, finished_at_ns=3, exit_code=0)),
    ):
        yield words[compute_container_state(old)], event, words[compute_container_state(new)]


def walk_sandbox() -> Iterator[Transition]:
    config = PodSandboxConfig(namespace="n", name="p", uid=PodUID("u"), hostname="h", log_directory=Path("/x"))
    record = SandboxRecord(id=SandboxId("s"), config=config, boot_id="b", created_at_ns=1)
    words = {SandboxState.READY: "ready", SandboxState.NOTREADY: "not ready"}
    stopped = compute_sandbox_status(replace(record, stopped_at_ns=2), None)
    yield words[compute_sandbox_status(record, None).state], "stopped", words[stopped.state]


# -- images and probes ----------------------------------------------------------------------------------------


def walk_image_decisions() -> Iterator[Transition]:
    images = FakeImages()
    pulled, loaded = images.add("a:1"), images.add("b:1", local_name=True)
    rows: list[tuple[str, str, str, Any, bool]] = [
        ("Always, absent", "Always", "a:1", None, False),
        ("Always, present", "Always", "b:1", loaded, False),
        ("Always by default, absent", "Always", "a:1", None, True),
        ("Always by default, loaded on this host", "Always", "b:1", loaded, True),
        ("Always by default, pulled", "Always", "a:1", pulled, True),
        *((f"{p}, absent", p, "a:1", None, False) for p in ("IfNotPresent", "Never")),
        *((f"{p}, present", p, "a:1", pulled, False) for p in ("IfNotPresent", "Never")),
    ]
    for words, policy, ref, present, defaulted in rows:
        decision = compute_image_decision(ref, policy, present, policy_defaulted=defaulted)
        yield words, "", decision.reason or decision.action


async def walk_pull(rig: Rig) -> set[Transition]:
    document = make_pod("web", {"name": "c", "image": "far:1"})
    pod = msgspec.convert(document, models.Pod)
    rig.images.errors["far:1"] = [ImagePullError("refused")]
    rig.images.remote.add("far:1")
    puller = ImagePuller(rig.kubelet.context)
    with pytest.raises(StartFailure) as caught:
        await puller.ensure_image(document, pod, pod.spec.containers[0])
    failure, becomes = caught.value, caught.value.retry.becomes
    assert becomes is not None
    assert failure.retry.retry_after_s == becomes.retry.retry_after_s == 10
    await puller.ensure_image(document, pod, pod.spec.containers[0])
    return {
        ("pull", "succeeds", "use"),
        ("pull", "fails", failure.reason),
        (failure.reason, f"{failure.retry.becomes_after_s:g} s later", becomes.reason),
        (becomes.reason, "back-off is over", "pull"),
    }


def walk_probe(kind: ProbeKind) -> Iterator[Transition]:
    settings = ProbeSettings(kind, success_threshold=1, failure_threshold=1)
    states = [build_initial_state(kind)]
    for state in states:  # grows
        if state.on_hold:
            assert all(compute_next_state(state, settings, verdict) == state for verdict in Verdict)
            continue
        assert compute_next_state(state, settings, Verdict.UNKNOWN) == state
        for verdict in (Verdict.SUCCESS, Verdict.FAILURE):
            if kind == "startup" and state.result.value == "success" and verdict is Verdict.FAILURE:
                continue  # is not run again
            after = compute_next_state(state, settings, verdict)
            yield f"{kind} {state.result.value}", verdict.value, f"{kind} {after.result.value}"
            if after.result not in [known.result for known in states]:
                states.append(after)


# -- pods -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make_rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Rig]:
    async def directly(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return fn(*args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", directly)
    numbers = iter(range(100))

    def build() -> Rig:
        clock, root = FakeClock(), tmp_path / str(next(numbers))
        root.mkdir()
        store = Store(root / "db", clock)
        config = KubeletSettings(node_name="n1", log_dir=root / "logs", state_dir=root / "state")
        runtime, images, volumes = FakeRuntime(clock), FakeImages(), FakeVolumes()
        images.add("nginx:1")
        recorder = EventLog()
        kubelet = Kubelet(config, store, runtime, images, volumes, recorder, clock)
        return Rig(store, clock, runtime, images, volumes, config, kubelet, recorder)

    return build


def mode(rig: Rig) -> str:
    worker = rig.kubelet.find_worker(PodUID("uid-web"))
    return worker.mode if worker is not None else "end"


async def end_containers(rig: Rig) -> None:
    for container in rig.runtime.list_containers():
        rig.runtime.kill(container.id, 0)
    await asyncio.sleep(0.2)


def delete(rig: Rig) -> None:
    rig.delete("web", 30)


def remove_object(rig: Rig) -> None:
    rig.store.delete(rig.key("web"))


async def walk_worker(rig: Rig, *, finished: bool, event: str, act: Callable[[Rig], None]) -> set[Transition]:
    """A pod whose container does not end at once, so that ``terminating`` can be seen."""
    rig.runtime.scripts["main"] = [Script(ignores_term=True)]
    await rig.start()
    rig.create(make_pod("web", restartPolicy="Never"))
    await asyncio.sleep(0.2)
    seen: set[Transition] = set()
    old = mode(rig)
    if finished:
        await end_containers(rig)
        seen.add((old, "all containers have ended for good", mode(rig)))
        old = mode(rig)
    act(rig)
    seen.add((old, event, mode(rig)))
    old = mode(rig)
    await asyncio.sleep(60)
    seen.add((old, "all is removed", mode(rig)))
    await rig.kubelet.stop()
    rig.store.close()
    return seen


async def walk_phases(make_rig: Callable[[], Rig]) -> set[Transition]:
    init = [{"name": "init", "image": "nginx:1"}]
    seen: set[Transition] = set()
    runs, fails = [Script(run_s=1)], [Script(run_s=1, code=1)]
    for scripts, policy, events in (
        ({"init": runs, "main": [Script(run_s=5)]}, "Never",
         ["init container done, app container runs", "app container succeeds"]),
        ({"init": runs, "main": [Script(run_s=5, code=1)]}, "Never", ["", "app container fails"]),
        ({"init": fails}, "Never", ["init container fails"]),
        ({"init": runs}, "Always", ["", "sandbox lost, init container runs again"]),
    ):  # fmt: skip
        rig = make_rig()
        rig.runtime.scripts.update(scripts)
        rig.store.subscribe("pods", lambda e, rig=rig: rig.versions.append(e.object))  # type: ignore[misc]
        await rig.start()
        rig.create(make_pod("web", restartPolicy=policy, initContainers=init))
        await asyncio.sleep(3)
        if policy == "Always":
            await rig.kubelet.stop()
            rig.runtime.reboot()
            await rig.restart()
        await asyncio.sleep(10)
        phases = rig.phases()
        seen |= {(old, event, new) for old, event, new in zip(phases, events, phases[1:], strict=False) if event}
        await rig.kubelet.stop()
        rig.store.close()
    return seen


def test_containers_and_sandboxes_are_as_drawn() -> None:
    assert set(walk_container()) == read_machine("Container")
    assert set(walk_sandbox()) == read_machine("Sandbox")


def test_probes_are_as_drawn() -> None:
    assert {step for kind in PROBE_KINDS for step in walk_probe(kind)} == read_machine("Probe")


async def test_images_are_as_drawn(make_rig: Callable[[], Rig]) -> None:
    rig = make_rig()
    walked = set(walk_image_decisions()) | await walk_pull(rig)
    rig.store.close()
    assert walked == read_machine("Image of a container")


async def test_worker_is_as_drawn(make_rig: Callable[[], Rig]) -> None:
    walked: set[Transition] = set()
    for finished, (event, act) in product((False, True), (("deleted", delete), ("object removed", remove_object))):
        walked |= await walk_worker(make_rig(), finished=finished, event=event, act=act)
    assert walked == read_machine("Pod worker")


async def test_phases_are_as_drawn(make_rig: Callable[[], Rig]) -> None:
    assert await walk_phases(make_rig) == read_machine("Phase of a pod")
