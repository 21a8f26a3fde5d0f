"""The cases of the kubelet's own decision table for pods (kubernetes 1.37, ``TestComputePodActions*``) that apply here.

Base cases and rows are those of pkg/kubelet/kuberuntime/kuberuntime_manager_test.go: facts, in our words.  Not taken
over: a sandbox without an address (ours have it recorded), and rows of feature gates that are off.
Where the kubelet kills and starts in one pass, we kill, and start when the exit is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.kubelet_rig import make_pod
from podhost.api import models
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus, PodSandboxStatus, SandboxState
from podhost.kubelet.pod_actions import LifecycleView, PodActions, compute_pod_actions, compute_spec_hash
from podhost.kubelet.runtime_status import LABEL_SPEC_HASH, build_runtime_status
from podhost.kubelet.settings import BackoffSettings

NOW = 1_000_000 * 1_000_000_000
RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED
CREATED, UNKNOWN = ContainerState.CREATED, ContainerState.UNKNOWN
APPS = ("foo1", "foo2", "foo3")
INITS = ("init1", "init2", "init3")
SIDECARS = ("side1", "side2", "side3")


def seen(name: str, state: ContainerState = RUNNING, code: int = 0) -> ContainerStatus:
    """A container of the runtime, long enough ago for any back-off."""
    spec = models.Container(name=name, image="nginx:1")
    return ContainerStatus(
        id=ContainerId(name), sandbox_id=SandboxId("s"), pod_uid=PodUID("u"), pod_namespace="default", pod_name="web",
        name=name, attempt=0, state=state, image_ref="nginx:1", image_id=ImageId("i"), created_at_ns=1,
        started_at_ns=0 if state is CREATED else 1, finished_at_ns=2 if state is EXITED else 0, exit_code=code,
        log_path=Path("/x"), labels={LABEL_SPEC_HASH: compute_spec_hash(spec)},
    )  # fmt: skip


def build_sandbox(*, ready: bool = True, attempt: int = 0) -> PodSandboxStatus:
    return PodSandboxStatus(
        id=SandboxId("s"), namespace="default", name="web", uid=PodUID("u"), attempt=attempt, created_at_ns=1,
        state=SandboxState.READY if ready else SandboxState.NOTREADY,
    )  # fmt: skip


def of_spec(names: tuple[str, ...], **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "image": "nginx:1", **more} for name in names]


@dataclass(frozen=True)
class Facts:
    """What is wanted and what was seen; rows change one thing."""

    spec: dict[str, Any]
    seen: tuple[ContainerStatus, ...]
    sandbox: PodSandboxStatus | None = field(default_factory=build_sandbox)
    view: LifecycleView = field(default_factory=LifecycleView)

    def compute(self) -> PodActions:
        pod = make_pod("web", *of_spec(APPS), **self.spec)
        sandboxes = () if self.sandbox is None else (self.sandbox,)
        return compute_pod_actions(
            msgspec.convert(pod, models.Pod), build_runtime_status(sandboxes, self.seen), NOW, BackoffSettings(),
            view=self.view,
        )  # fmt: skip


Change = Callable[[Facts], Facts]


def policy(name: str) -> Change:
    return lambda f: replace(f, spec={**f.spec, "restartPolicy": name})


def state(name: str, to: ContainerState, code: int = 0) -> Change:
    return lambda f: replace(f, seen=tuple(seen(name, to, code) if c.name == name else c for c in f.seen))


def only(*names: str) -> Change:
    return lambda f: replace(f, seen=tuple(c for c in f.seen if c.name in names))


def also(*containers: ContainerStatus) -> Change:
    return lambda f: replace(f, seen=f.seen + containers)


def old_hash(name: str) -> Change:
    def change(facts: Facts) -> Facts:
        return replace(
            facts, seen=tuple(replace(c, labels={LABEL_SPEC_HASH: "old"}) if c.name == name else c for c in facts.seen)
        )

    return change


def found(**view: str) -> Change:
    return lambda f: replace(f, view=LifecycleView(**{k: frozenset({ContainerId(v)}) for k, v in view.items()}))


def lost(attempt: int = 0) -> Change:
    return lambda f: replace(f, sandbox=build_sandbox(ready=False, attempt=attempt))


def no_sandbox(f: Facts) -> Facts:
    return replace(f, sandbox=None, seen=())


def ephemeral(*names: str) -> Change:
    return lambda f: replace(f, spec={**f.spec, "ephemeralContainers": of_spec(names)})


def all_ended(code: int = 0, names: tuple[str, ...] = APPS) -> Change:
    return lambda f: replace(f, seen=tuple(seen(c.name, EXITED, code) if c.name in names else c for c in f.seen))


def summary(actions: PodActions) -> str:
    words = [f"sandbox/{actions.sandbox_attempt}"] if actions.create_sandbox else []
    words += ["kill-pod"] if actions.kill_pod else []
    words += [f"kill:{kill.name}" for kill in actions.kill]
    words += [f"start:{start.name}" for start in (*actions.start, *actions.backing_off)]
    return " ".join(words)


PLAIN = Facts({}, tuple(map(seen, APPS)))
INIT = Facts({"initContainers": of_spec(INITS)}, tuple(seen(name, EXITED) for name in INITS))
SIDE = Facts({"initContainers": of_spec(SIDECARS, restartPolicy="Always")}, tuple(map(seen, SIDECARS)))
DEBUG = Facts(
    {"initContainers": of_spec(("init1",)), "ephemeralContainers": of_spec(("debug",))},
    (seen("init1", EXITED), *map(seen, APPS), seen("debug")),
)
START_ALL = "start:foo1 start:foo2 start:foo3"

Row = tuple[str, Facts, tuple[Change, ...], str]
ROWS: list[Row] = [
    ("steady state", PLAIN, (), ""),
    ("new pod", PLAIN, (no_sandbox,), f"sandbox/0 {START_ALL}"),
    ("sandbox there, no container", PLAIN, (only(),), START_ALL),
    ("Always restarts whatever the exit code",
     PLAIN, (state("foo1", EXITED, 0), state("foo2", EXITED, 111)), "start:foo1 start:foo2"),
    ("OnFailure restarts the failed one",
     PLAIN, (policy("OnFailure"), state("foo1", EXITED), state("foo2", EXITED, 111)), "start:foo2"),
    ("OnFailure starts the one that was only created",
     PLAIN, (policy("OnFailure"), state("foo1", EXITED), state("foo2", CREATED)), "start:foo2"),
    ("Never restarts none",
     PLAIN, (policy("Never"), state("foo1", EXITED), state("foo2", EXITED, 111)), ""),
    ("sandbox dead, Always", PLAIN, (lost(),), f"sandbox/1 kill-pod {START_ALL}"),
    ("sandbox dead, OnFailure: not the succeeded one",
     PLAIN, (policy("OnFailure"), lost(), state("foo2", EXITED)), "sandbox/1 kill-pod start:foo1 start:foo3"),
    ("sandbox dead, Never, all exited", PLAIN, (policy("Never"), lost(1), all_ended()), "kill-pod"),
    ("sandbox dead, OnFailure, all succeeded", PLAIN, (policy("OnFailure"), lost(1), all_ended()), "kill-pod"),
    ("sandbox dead, Never, no container ever",
     PLAIN, (policy("Never"), lost(2), only()), f"sandbox/3 kill-pod {START_ALL}"),
    ("definition changed", PLAIN, (old_hash("foo2"),), "kill:foo2"),
    ("definition changed, also under Never", PLAIN, (policy("Never"), old_hash("foo2")), "kill:foo2"),
    ("definition changed, under Never, killed for it",
     PLAIN, (policy("Never"), state("foo2", EXITED, 137), old_hash("foo2"), found(killed_to_restart="foo2")), "start:foo2"),
    ("definition changed, under Never, exited before",
     PLAIN, (policy("Never"), state("foo2", EXITED, 137), old_hash("foo2")), ""),
    ("definition changed, under OnFailure, obeyed SIGTERM",
     PLAIN, (policy("OnFailure"), state("foo2", EXITED), found(killed_to_restart="foo2")), "start:foo2"),
    ("definition changed, under Never, killed for it, the others ended",
     PLAIN, (policy("Never"), all_ended(), old_hash("foo2"), found(killed_to_restart="foo2")), "start:foo2"),
    ("liveness failed", PLAIN, (found(liveness_failed="foo2"),), "kill:foo2"),
    ("startup failed", PLAIN, (found(startup_failed="foo2"),), "kill:foo2"),
    ("unknown state, also under Never", PLAIN, (policy("Never"), state("foo2", UNKNOWN)), "kill:foo2 start:foo2"),
    ("created state, also under Never", PLAIN, (policy("Never"), state("foo2", CREATED)), "start:foo2"),
    ("init: completed", INIT, (), START_ALL),
    ("init: none started", INIT, (only(),), "start:init1"),
    ("init: the last one runs", INIT, (state("init3", RUNNING),), ""),
    ("init: sandbox dead", INIT, (lost(),), "sandbox/1 kill-pod start:init1"),
    ("init: failed, Always", INIT, (state("init3", EXITED, 137),), "start:init3"),
    ("init: failed, OnFailure", INIT, (policy("OnFailure"), state("init3", EXITED, 137)), "start:init3"),
    ("init: failed, Never", INIT, (policy("Never"), state("init3", EXITED, 137)), "kill-pod"),
    ("init: unknown, Always", INIT, (state("init3", UNKNOWN),), "kill:init3 start:init3"),
    ("init: unknown, OnFailure", INIT, (policy("OnFailure"), state("init3", UNKNOWN)), "kill:init3 start:init3"),
    ("init: unknown, Never", INIT, (policy("Never"), state("init3", UNKNOWN)), "kill-pod"),
    ("init: sandbox dead, Never", INIT, (policy("Never"), lost()), "kill-pod"),
    ("init: sandbox dead, Never, none seen",
     INIT, (policy("Never"), lost(), only()), "sandbox/1 kill-pod start:init1"),
    ("init: sandbox dead, failed, OnFailure",
     INIT, (policy("OnFailure"), lost(), state("init3", EXITED, 137)), "sandbox/1 kill-pod start:init1"),
    ("init: earlier ones forgotten, the last one runs", INIT, (only("init3"), state("init3", RUNNING)), ""),
    ("init: only created", INIT, (state("init3", CREATED),), "start:init3"),
    ("sidecars: all started", SIDE, (), START_ALL),
    ("sidecars: none started", SIDE, (only(),), "start:side1"),
    ("sidecars: only created", SIDE, (state("side3", CREATED),), "start:side3"),
    ("sidecars: first started", SIDE, (only("side1"),), "start:side2"),
    ("sidecars: startup probe open", SIDE, (only("side1", "side2"), found(not_started="side2")), ""),
    ("sidecars: startup probe done", SIDE, (only("side1", "side2"),), "start:side3"),
    ("sidecars: liveness failed", SIDE, (found(liveness_failed="side3"),), f"kill:side3 {START_ALL}"),
    ("sidecars: startup failed", SIDE, (found(startup_failed="side3", not_started="side3"),), "kill:side3"),
    ("sidecars: definition changed", SIDE, (old_hash("side3"),), f"kill:side3 {START_ALL}"),
    ("sidecars: an early one and the last one ended",
     SIDE, (state("side1", EXITED), state("side3", EXITED)), "start:side1 start:side3"),
    ("sidecars: an early one ended", SIDE, (state("side1", EXITED),), f"start:side1 {START_ALL}"),
    ("sidecars: sandbox dead, Never",
     SIDE, (policy("Never"), lost(), state("side3", EXITED, 137)), "kill-pod"),
    ("sidecars: sandbox dead, Never, none seen",
     SIDE, (policy("Never"), lost(), only()), "sandbox/1 kill-pod start:side1"),
    ("sidecars: sandbox dead, OnFailure",
     SIDE, (policy("OnFailure"), lost(), state("side3", EXITED, 137)), "sandbox/1 kill-pod start:side1"),
    ("sidecars: sandbox dead, Always",
     SIDE, (lost(), state("side3", EXITED, 137)), "sandbox/1 kill-pod start:side1"),
    ("sidecars: failed, also under Never", SIDE, (policy("Never"), state("side3", EXITED, 137)), "start:side3"),
    ("sidecars: unknown, also under Never",
     SIDE, (policy("Never"), state("side3", UNKNOWN)), "kill:side3 start:side3"),
    ("sidecars: failed while the others run, also under Never",
     SIDE, (policy("Never"), state("side3", EXITED, 137), also(*map(seen, APPS))), "start:side3"),
    ("sidecars: all others succeeded, Never",
     SIDE, (policy("Never"), also(*map(seen, APPS)), all_ended()), "kill-pod"),
    ("sidecars: earlier ones forgotten", SIDE, (only("side3"),), f"start:side1 start:side2 {START_ALL}"),
    ("ephemeral: steady state", DEBUG, (), ""),
    ("ephemeral: not yet started", DEBUG, (only("init1", *APPS),), "start:debug"),
    ("ephemeral: a second one", DEBUG, (ephemeral("debug", "debug2"),), "start:debug2"),
    ("ephemeral: exited", DEBUG, (state("debug", EXITED),), ""),
    ("ephemeral: while the init container runs",
     DEBUG, (only("init1"), state("init1", RUNNING)), "start:debug"),
    ("ephemeral: sandbox dead, init failed, OnFailure",
     DEBUG, (policy("OnFailure"), lost(), only("init1"), state("init1", EXITED, 137)), "sandbox/1 kill-pod start:init1"),
    ("ephemeral: sandbox dead", DEBUG, (lost(),), "sandbox/1 kill-pod start:init1"),
    ("ephemeral: all others exited, Never", DEBUG, (policy("Never"), all_ended()), "kill-pod"),
    ("ephemeral: unknown state", DEBUG, (policy("Never"), state("debug", UNKNOWN)), ""),
]  # fmt: skip


@pytest.mark.parametrize(("base", "changes", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_kubelet_would_do_the_same(base: Facts, changes: tuple[Change, ...], expected: str) -> None:
    for change in changes:
        base = change(base)
    assert summary(base.compute()) == expected
