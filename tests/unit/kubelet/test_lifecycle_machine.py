"""Random lives of pods, fixed ones, and proof that a kubelet that breaks a promise is found out.

``PODHOST_LIFECYCLE_EXAMPLES=1000`` looks longer, at other histories each time; the default is short and always the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from harness.cri_fakes import Script
from harness.lifecycle_machine import PodLives, build_probe
from podhost.cri.runtime import ContainerState
from podhost.kubelet import container_status, pod_actions, pod_worker
from podhost.kubelet.pod_actions import LifecycleView, PodActions
from podhost.kubelet.probe_state import Verdict

EXAMPLES = int(os.environ.get("PODHOST_LIFECYCLE_EXAMPLES", "0"))
Obj = dict[str, Any]
ENDLESS, SHORT, FAILS = Script(), Script(run_s=3), Script(run_s=3, code=1)


def plan(policy: str, *, inits: tuple[Obj, ...] = (), change: Obj | None = None, **scripts: Script) -> Obj:
    """A pod whose containers do as ``scripts`` say; those of ``inits`` are named there too."""
    image = {"image": "nginx:1", "imagePullPolicy": "IfNotPresent"}
    names = [name for name in scripts if name not in {i["name"] for i in inits}]
    spec: Obj = {"restartPolicy": policy, "containers": [{"name": n, **image, **(change or {})} for n in names]}
    if inits:
        spec["initContainers"] = [{**image, **init} for init in inits]
    return {"spec": spec, "scripts": {name: [script] for name, script in scripts.items()}}


def sidecar(name: str = "s0", **more: Any) -> Obj:
    return {"name": name, "restartPolicy": "Always", **more}


# -- fixed examples: one for each class of promises ---------------------------------------------------------------


def a_completed_pod_stays_completed(pods: PodLives) -> None:
    pods.create("p0", plan("Never", c0=SHORT, c1=FAILS))
    pods.wait(4.0)
    pods.reboot()
    pods.wait(200.0)
    pods.create("p1", plan("Always", c0=ENDLESS))
    pods.wait(1.0)
    pods.evict("p1")
    pods.wait(4.0)
    pods.restart_daemon()
    pods.wait(1.0)
    pods.change_image("p0", 0, "far:1")


def a_success_counts_in_the_next_sandbox(pods: PodLives) -> None:
    pods.create("p0", plan("OnFailure", c0=SHORT, c1=ENDLESS))
    pods.wait(4.0)
    pods.reboot()
    pods.wait(4.0)


def a_startup_probe_gates_what_comes_after(pods: PodLives) -> None:
    pods.answer("startup", Verdict.UNKNOWN)
    pods.create("p0", plan("Always", inits=(sidecar(startupProbe=build_probe("startup")),), s0=ENDLESS, c0=ENDLESS))
    pods.wait(4.0)
    pods.wait(11.0)


def an_end_under_never_is_for_good(pods: PodLives) -> None:
    pods.create("p0", plan("Never", c0=SHORT, c1=FAILS, c2=ENDLESS))
    pods.wait(200.0)


def a_crash_loop_counts_and_backs_off(pods: PodLives) -> None:
    pods.create("p0", plan("Always", c0=FAILS))
    pods.wait(200.0)


def init_containers_go_one_by_one(pods: PodLives) -> None:
    inits = ({"name": "i0"}, sidecar(), {"name": "i1"})
    pods.create("p0", plan("Always", inits=inits, i0=SHORT, s0=ENDLESS, i1=SHORT, c0=ENDLESS))
    pods.wait(1.0)
    pods.wait(11.0)
    pods.reboot()


def sidecars_do_not_keep_a_pod_from_its_end(pods: PodLives) -> None:
    pods.create("p0", plan("OnFailure", inits=(sidecar(),), s0=ENDLESS, c0=SHORT))
    pods.wait(11.0)


def a_sidecar_is_started_again(pods: PodLives) -> None:
    pods.create("p0", plan("Never", inits=(sidecar(),), s0=FAILS, c0=ENDLESS))
    pods.wait(200.0)


def another_image_is_run_whatever_the_policy(pods: PodLives) -> None:
    pods.create("p0", plan("Never", c0=ENDLESS, c1=ENDLESS))
    pods.create("p1", plan("OnFailure", c0=Script(term_code=0)))
    pods.wait(1.0)
    pods.change_image("p0", 0, "far:1")
    pods.change_image("p1", 0, "nginx:2")
    pods.wait(4.0)


def a_deleted_pod_starts_nothing(pods: PodLives) -> None:
    pods.create("p0", plan("Always", c0=Script(ignores_term=True), c1=Script(run_s=15)))
    pods.wait(4.0)
    pods.delete("p0", 30)
    pods.wait(200.0)


def a_liveness_probe_ends_a_container_and_it_comes_back(pods: PodLives) -> None:
    pods.create("p0", plan("Always", change={"livenessProbe": build_probe("liveness")}, c0=ENDLESS))
    pods.wait(11.0)
    pods.answer("liveness", Verdict.FAILURE)
    pods.wait(200.0)


def a_deadline_ends_a_pod(pods: PodLives) -> None:
    late = plan("Always", c0=ENDLESS)
    late["spec"]["activeDeadlineSeconds"] = 20
    pods.create("p0", late)
    pods.wait(200.0)


Example = Callable[[PodLives], None]
FIXED: tuple[Example, ...] = (
    a_completed_pod_stays_completed, a_success_counts_in_the_next_sandbox, a_startup_probe_gates_what_comes_after,
    an_end_under_never_is_for_good, a_crash_loop_counts_and_backs_off, init_containers_go_one_by_one,
    sidecars_do_not_keep_a_pod_from_its_end, a_sidecar_is_started_again, another_image_is_run_whatever_the_policy,
    a_deleted_pod_starts_nothing, a_liveness_probe_ends_a_container_and_it_comes_back, a_deadline_ends_a_pod,
)  # fmt: skip


def live(example: Example) -> None:
    pods = PodLives()
    try:
        example(pods)
        pods.nothing_wrong_was_seen()
    finally:
        pods.teardown()


@pytest.mark.parametrize("example", FIXED, ids=lambda example: example.__name__)
def test_fixed_lives(example: Example) -> None:
    live(example)


# -- breaks: each makes the kubelet break one promise -----------------------------------------------------------------

Patch = pytest.MonkeyPatch


def terminal_mode_is_ignored(patch: Patch) -> None:
    patch.setattr(pod_worker, "is_terminal", lambda status: False)


def all_containers_run_again_in_a_new_sandbox(patch: Patch) -> None:
    patch.setattr(pod_actions, "_is_wanted_again", lambda *_: True)


def the_gate_of_startup_probes_is_ignored(patch: Patch) -> None:
    _change_view(patch, lambda view: replace(view, not_started=frozenset()))


def exits_of_liveness_probes_are_ignored(patch: Patch) -> None:
    _change_view(patch, lambda view: replace(view, liveness_failed=frozenset()))


def what_is_killed_to_restart_is_forgotten(patch: Patch) -> None:
    _change_view(patch, lambda view: replace(view, killed_to_restart=frozenset()))


def _change_view(patch: Patch, change: Callable[[LifecycleView], LifecycleView]) -> None:
    real = pod_actions.compute_pod_actions

    def compute(*args: Any, view: LifecycleView, **more: Any) -> PodActions:
        return real(*args, view=change(view), **more)

    patch.setattr(pod_worker, "compute_pod_actions", compute)


def never_is_taken_for_always(patch: Patch) -> None:
    patch.setattr(pod_actions, "should_restart", lambda *_: True)


def restarts_are_not_counted(patch: Patch) -> None:
    real = container_status.build_container_status
    patch.setattr(
        "podhost.kubelet.pod_status.build_container_status",
        lambda *args, **more: {**real(*args, **more), "restartCount": 0},
    )


def attempts_are_not_counted(patch: Patch) -> None:
    real = pod_actions.build_start
    patch.setattr(pod_actions, "build_start", lambda *args: replace(real(*args), attempt=0))


def back_off_is_skipped(patch: Patch) -> None:
    patch.setattr(pod_actions, "compute_restart_at_ns", lambda *_: 0)


def init_containers_do_not_wait(patch: Patch) -> None:
    real = pod_actions._Decision._current_init

    def current(self: Any, container: Any) -> Any:
        return replace(real(self, container), is_done=True)

    patch.setattr(pod_actions._Decision, "_current_init", current)


def init_containers_are_taken_from_the_end(patch: Patch) -> None:
    real = pod_actions._Decision._init_actions

    def reverse(self: Any) -> Any:
        own = self.pod
        self.pod = _with_inits(own, own.spec.init_containers[::-1])
        try:
            return real(self)
        finally:
            self.pod = own

    patch.setattr(pod_actions._Decision, "_init_actions", reverse)


def _with_inits(pod: Any, inits: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, init_containers=inits))


def sidecars_keep_a_pod_alive(patch: Patch) -> None:
    real = pod_actions._Decision._app_actions

    def keep(self: Any) -> Any:
        starts, kills, kept = real(self)
        sides = [c for c in self.pod.spec.init_containers if pod_actions.is_sidecar(c)]
        return starts, kills, kept + len(sides)

    patch.setattr(pod_actions._Decision, "_app_actions", keep)


def sidecars_are_not_started_again(patch: Patch) -> None:
    real = pod_actions._Decision._keep_sidecars

    def keep(self: Any, inits: Any, others: Any) -> Any:
        dead = [c for c in inits if (s := self._latest(c.name)) is not None and s.state is ContainerState.EXITED]
        return real(self, tuple(c for c in inits if c not in dead), others)

    patch.setattr(pod_actions._Decision, "_keep_sidecars", keep)


def deletion_is_ignored_by_starts(patch: Patch) -> None:
    async def wait_for_nothing(*_: Any) -> None:
        return None

    real = pod_worker.PodWorker._sync_terminating

    def both(self: Any, observed: Any) -> None:
        real(self, observed)
        self._sync_running(observed)

    patch.setattr(pod_worker.PodWorker, "_sync_terminating", both)


def deadlines_are_ignored(patch: Patch) -> None:
    patch.setattr(pod_actions, "compute_deadline_ns", lambda *_: None)


@dataclass(frozen=True)
class Break:
    """A broken promise, the example that shows it, and words of the complaint."""

    apply: Callable[[Patch], None]
    example: Example
    says: str


BREAKS = (
    Break(terminal_mode_is_ignored, a_completed_pod_stays_completed, "in a pod that has ended"),
    Break(all_containers_run_again_in_a_new_sandbox, a_success_counts_in_the_next_sandbox, "though it has succeeded"),
    Break(the_gate_of_startup_probes_is_ignored, a_startup_probe_gates_what_comes_after, "before the startup probe"),
    Break(never_is_taken_for_always, an_end_under_never_is_for_good, "runs twice under Never"),
    Break(restarts_are_not_counted, a_crash_loop_counts_and_backs_off, "restartCount"),
    Break(attempts_are_not_counted, a_crash_loop_counts_and_backs_off, "under an old number"),
    Break(back_off_is_skipped, a_crash_loop_counts_and_backs_off, "s after an exit"),
    Break(init_containers_do_not_wait, init_containers_go_one_by_one, "before i0 has completed"),
    Break(init_containers_are_taken_from_the_end, init_containers_go_one_by_one, "before s0 has started"),
    Break(sidecars_keep_a_pod_alive, sidecars_do_not_keep_a_pod_from_its_end, "keep a pod from completing"),
    Break(sidecars_are_not_started_again, a_sidecar_is_started_again, "s0 is not started again"),
    Break(what_is_killed_to_restart_is_forgotten, another_image_is_run_whatever_the_policy, "should run"),
    Break(deletion_is_ignored_by_starts, a_deleted_pod_starts_nothing, "that is being deleted"),
    Break(deadlines_are_ignored, a_deadline_ends_a_pod, "after its deadline"),
)


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.apply.__name__)
def test_a_broken_kubelet_is_found_out(broken: Break, monkeypatch: Patch) -> None:
    broken.apply(monkeypatch)
    with pytest.raises(AssertionError, match=broken.says):
        live(broken.example)


def test_whatever_happens_pods_live_as_kubernetes_promises() -> None:
    run_state_machine_as_test(
        PodLives,
        settings=settings(
            max_examples=EXAMPLES or 60,
            stateful_step_count=30,
            deadline=None,
            derandomize=not EXAMPLES,
            database=None,
            print_blob=True,
            phases=list(Phase) if os.environ.get("PODHOST_LIFECYCLE_SHRINK") else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
