"""Random lives of random pods, on virtual time, over the real kubelet with its neighbours faked.

What must hold at every moment is in :mod:`harness.lifecycle_ledger`; what must hold once all is quiet, below.
Its rules can be called one by one, too: that is a fixed example.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import looptime
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harness.cri_fakes import FakeImages, FakeRuntime, FakeVolumes, Script
from harness.handler_fakes import FakeHandlers, HookScript
from harness.kubelet_rig import EventLog, Rig, make_pod
from harness.lifecycle_ledger import Ledger, find_unrest
from podhost.aiokit.clock import FakeClock
from podhost.cri.images import ImagePullError
from podhost.cri.runtime import ContainerStartError, ContainerState
from podhost.cri.volumes import VolumeError
from podhost.errors import UnavailableError
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.probe_state import Outcome, Verdict
from podhost.kubelet.settings import KubeletSettings
from podhost.store.store import Store

SLOTS = ("p0", "p1")
QUIET_S = 3000.0
"""Longer than any back-off and any run of a script that ends."""
Obj = dict[str, Any]

IMAGES = st.sampled_from(["nginx:1"] * 24 + ["far:1"] * 4 + ["lost:1", "Not:A:Name"])
RUN_S = st.sampled_from([None, None, 0.0, 0.02, 3.0, 15.0, 700.0])
SCRIPT = st.builds(
    Script,
    run_s=RUN_S,
    code=st.sampled_from([0, 0, 1, 137]),
    start_error=st.sampled_from([None] * 9 + [ContainerStartError("no such file")]),
    ignores_term=st.sampled_from([False, False, True]),
)
INIT_SCRIPT = st.builds(Script, run_s=st.sampled_from([0.0, 0.02, 3.0, None]), code=st.sampled_from([0, 0, 0, 1]))
MISHAPS = ["run_pod_sandbox", "create_container", "stop_pod_sandbox", "remove_pod_sandbox", "stop_container",
           "remove_container", "start_container"]  # fmt: skip


def _call(word: str) -> Obj:
    return {"exec": {"command": [word]}}


def build_probe(word: str) -> Obj:
    return {**_call(word), "periodSeconds": 30, "timeoutSeconds": 1, "failureThreshold": 1, "successThreshold": 1}


EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "startupProbe": st.just(build_probe("startup")),
        "livenessProbe": st.just(build_probe("liveness")),
        "readinessProbe": st.just(build_probe("readiness")),
        "lifecycle": st.sampled_from([{"postStart": _call("post")}, {"preStop": _call("pre")}]),
    },
).flatmap(lambda extras: st.sampled_from([{}, {}, {}, extras]))
"""Probes and hooks, of one container in four."""
SIDECAR_EXTRAS = st.one_of(EXTRAS, st.just({"startupProbe": build_probe("startup")}))
"""A gate, of every other sidecar."""


@st.composite
def pod_plans(draw: st.DrawFn) -> Obj:
    """A spec, and what its containers will do: ``scripts`` by name."""
    scripts: dict[str, list[Script]] = {}

    def container(name: str, script: st.SearchStrategy[Script], **more: Any) -> Obj:
        scripts[name] = draw(st.lists(script, min_size=1, max_size=3))
        extras = draw(SIDECAR_EXTRAS if more else EXTRAS) if script is SCRIPT else {}
        return {"name": name, "image": draw(IMAGES), "imagePullPolicy": "IfNotPresent", **extras, **more}

    inits = []
    for number in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            inits.append(container(f"s{number}", SCRIPT, restartPolicy="Always"))
        else:
            inits.append(container(f"i{number}", INIT_SCRIPT))
    spec: Obj = {
        "restartPolicy": draw(st.sampled_from(["Always", "OnFailure", "Never"])),
        "containers": [container(f"c{number}", SCRIPT) for number in range(draw(st.integers(1, 3)))],
    }
    if inits:
        spec["initContainers"] = inits
    if draw(st.sampled_from([False] * 5 + [True])):
        spec["activeDeadlineSeconds"] = draw(st.sampled_from([1, 20, 2000]))
    return {"spec": spec, "scripts": scripts}


async def _directly(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    await asyncio.sleep(0)
    return fn(*args, **kwargs)


class PodLives(RuleBasedStateMachine):
    """Two names for pods; each may be created, changed and deleted as often as hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self._to_thread, asyncio.to_thread = asyncio.to_thread, _directly
        self.root = Path(tempfile.mkdtemp(prefix="podhost-lives-"))
        self.loop = looptime.new_event_loop()
        self.births = 0
        self.sound: dict[str, set[str]] = {}
        """By uid: who must run in the end, of pods that nothing keeps from it."""
        self.is_disturbed = False
        """Something other than a user has ended a process: under Never and OnFailure it may stay ended."""
        self._do(self._set_up)

    async def _set_up(self) -> None:
        clock = FakeClock()
        store = Store(self.root / "store.db", clock)
        config = KubeletSettings(
            node_name="n1", log_dir=self.root / "logs", state_dir=self.root / "state", memory_bytes=1 << 30
        )
        runtime, images, volumes = FakeRuntime(clock), FakeImages(), FakeVolumes()
        images.add("nginx:1")
        images.remote |= {"far:1", "nginx:2"}
        images.pull_s = 0.5
        runtime.sandbox_delay_s = 0.01
        handlers = FakeHandlers()
        self.ledger = Ledger(runtime, handlers, clock)
        runtime.subscribe(self.ledger.on_container)
        store.subscribe("pods", self.ledger.on_pod)
        recorder = EventLog()
        kubelet = Kubelet(config, store, runtime, images, volumes, recorder, clock)
        self.rig = Rig(store, clock, runtime, images, volumes, config, kubelet, recorder, handlers)
        await self.rig.start()

    def _do(self, action: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            self.loop.run_until_complete(action(*args))
        except RuntimeError:
            # The ledger has stopped the loop: a kubelet that goes round and round never lets the time pass.
            self.nothing_wrong_was_seen()
            raise

    # -- users ------------------------------------------------------------------------------------------------

    @initialize(plan=pod_plans(), startup=st.sampled_from(list(Verdict)))
    def begin(self, plan: Obj, startup: Verdict) -> None:
        """No history is spent on an empty node."""
        self.answer("startup", startup)
        self.is_disturbed = startup in (Verdict.FAILURE, Verdict.UNKNOWN)
        self.create("p0", plan)
        self._do(asyncio.sleep, 1.0)

    @rule(name=st.sampled_from(SLOTS), plan=pod_plans())
    def create(self, name: str, plan: Obj) -> None:
        async def act() -> None:
            if self.rig.pod(name) is None:
                self.births += 1
                for container, scripts in plan["scripts"].items():
                    self.rig.runtime.scripts[f"{name}/{container}"] = scripts
                pod = make_pod(name, *plan["spec"]["containers"], **{**plan["spec"], "containers": None})
                pod["spec"] |= plan["spec"]
                pod["metadata"]["uid"] = f"uid-{name}-{self.births}"
                self.sound[pod["metadata"]["uid"]] = _find_lasting(plan)
                self.rig.create(pod)

        self._do(act)

    @rule(name=st.sampled_from(SLOTS), grace_s=st.sampled_from([0, 1, 5, 30]))
    def delete(self, name: str, grace_s: int) -> None:
        """Gracefully, or by force; a second time only with less patience, as the API server does it."""

        async def act() -> None:
            pod = self.rig.pod(name)
            if pod is None:
                return
            if grace_s == 0:
                self.rig.store.delete(self.rig.key(name))
            elif grace_s < pod["metadata"].get("deletionGracePeriodSeconds", 1000):
                self.rig.delete(name, grace_s)

        self._do(act)

    @rule(name=st.sampled_from(SLOTS), index=st.integers(0, 2), image=st.sampled_from(["nginx:1", "nginx:2", "far:1"]))
    def change_image(self, name: str, index: int, image: str) -> None:
        async def act() -> None:
            if self.rig.pod(name) is None:
                return

            def change(pod: Obj) -> Obj:
                containers = pod["spec"]["containers"]
                entry = containers[index % len(containers)]
                if entry["image"] != image:
                    entry["image"] = image
                    pod["metadata"]["generation"] += 1
                return pod

            self.rig.store.mutate(self.rig.key(name), change)

        self._do(act)

    @rule(name=st.sampled_from(SLOTS))
    def debug(self, name: str) -> None:
        """``kubectl debug``."""

        async def act() -> None:
            if self.rig.pod(name) is None:
                return

            def change(pod: Obj) -> Obj:
                group = pod["spec"].setdefault("ephemeralContainers", [])
                group.append({"name": f"e{len(group)}", "image": "nginx:1"})
                pod["metadata"]["generation"] += 1
                return pod

            self.rig.store.mutate(self.rig.key(name), change)

        self._do(act)

    # -- the machine ------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(SLOTS))
    def evict(self, name: str) -> None:
        """It uses more than it may."""

        async def act() -> None:
            for worker in self.rig.kubelet._pods.values():
                if worker.key.name == name and worker.may_be_evicted:
                    worker.evict("uses more than it may")
                    self.sound.pop(worker.uid, None)

        self._do(act)

    @rule(index=st.integers(0, 7), code=st.sampled_from([0, 1, 137]))
    def exit(self, index: int, code: int) -> None:
        """Some process ends by itself."""

        self.is_disturbed = True

        async def act() -> None:
            running = [c for c in self.rig.runtime.list_containers() if c.state is ContainerState.RUNNING]
            if running:
                self.rig.runtime.kill(running[index % len(running)].id, code)

        self._do(act)

    @rule()
    def restart_daemon(self) -> None:
        self.is_disturbed = True  # As with a kubelet: what it had killed to start it again, it does not know.
        self._do(self.rig.restart)

    @rule()
    def reboot(self) -> None:
        self.is_disturbed = True

        async def act() -> None:
            await self.rig.kubelet.stop()
            self.rig.runtime.reboot()
            await self.rig.restart()

        self._do(act)

    @rule(what=st.sampled_from([*MISHAPS, "mount", "pull"]))
    def fail(self, what: str) -> None:
        """The next try of something; one rule, so that lives are not all mishaps."""
        if what == "mount":
            self.rig.volumes.errors.append(VolumeError("no such secret"))
        elif what == "pull":
            self.rig.images.errors.setdefault("far:1", []).append(ImagePullError("refused"))
        else:
            self._fail_next(what)

    def _fail_next(self, verb: str) -> None:
        self.is_disturbed = True
        error = ContainerStartError("lost") if verb == "start_container" else UnavailableError("busy")
        self.rig.runtime.fail[verb].append(error)

    @rule(word=st.sampled_from(["startup", "liveness", "readiness"]), verdict=st.sampled_from(list(Verdict)))
    def answer(self, word: str, verdict: Verdict) -> None:
        """From now on all probes of a kind say so."""
        self.is_disturbed = True
        self.rig.handlers.answers[word] = [Outcome(verdict)]

    @rule(
        word=st.sampled_from(["post", "pre"]),
        run_s=st.sampled_from([0.0, 2.0, 100.0]),
        error=st.sampled_from(["", "no"]),
    )
    def script_hook(self, word: str, run_s: float, error: str) -> None:
        self.is_disturbed = True
        self.rig.handlers.hooks[word] = HookScript(run_s, error)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.005, 0.02, 0.3, 1.0, 4.0, 11.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self._do(asyncio.sleep, seconds)

    @rule(seconds=st.sampled_from([4.0, 16.0, 40.0, 800.0]))
    def live_on(self, seconds: float) -> None:
        """Long enough for exits, restarts and probes."""
        self._do(asyncio.sleep, seconds)

    # -- what holds -------------------------------------------------------------------------------------------

    @invariant()
    def nothing_wrong_was_seen(self) -> None:
        assert not self.ledger.wrongs, "\n".join(self.ledger.wrongs)

    def teardown(self) -> None:
        try:
            self._do(self._settle)
        finally:
            asyncio.to_thread = self._to_thread
            self.loop.close()
            shutil.rmtree(self.root)

    async def _settle(self) -> None:
        rig = self.rig
        rig.handlers.answers.clear()
        rig.handlers.hooks.clear()
        try:
            # A kubelet that is known to be wrong may not come to rest.
            self.nothing_wrong_was_seen()
            await asyncio.sleep(QUIET_S)
            self.nothing_wrong_was_seen()
            for pod in rig.store.list("pods")[0]:
                self._verify_quiet(pod)
            self._verify_nothing_of_others()
            for pod in rig.store.list("pods")[0]:
                rig.delete(pod["metadata"]["name"], 5)
            await asyncio.sleep(QUIET_S)
            assert rig.store.list("pods")[0] == [], "a deleted pod always ends"
            self._verify_nothing_of_others()
            self.nothing_wrong_was_seen()
        finally:
            await rig.kubelet.stop()
            rig.store.close()

    def _verify_nothing_of_others(self) -> None:
        """On the machine there is only what belongs to pods of the store."""
        rig = self.rig
        live = {pod["metadata"]["uid"] for pod in rig.store.list("pods")[0]}
        assert {s.uid for s in rig.runtime.sandboxes.values()} <= live
        assert {c.pod_uid for c in rig.runtime.containers.values()} <= live
        assert rig.volumes.mounted <= live
        logs = {path.name.rpartition("_")[2] for path in _entries(rig.settings.log_dir)}
        assert logs | {path.name for path in _entries(rig.settings.state_dir)} <= live

    def _verify_quiet(self, pod: Obj) -> None:
        running = {c.name for c in self.rig.runtime.list_containers() if c.pod_uid == pod["metadata"]["uid"] and c.pid}
        wrongs = list(find_unrest(pod, running, mounted=pod["metadata"]["uid"] in self.rig.volumes.mounted))
        sound = self.sound.get(pod["metadata"]["uid"])
        must_run = pod["spec"]["restartPolicy"] == "Always" or not self.is_disturbed
        if sound is not None and must_run and not sound <= running:
            wrongs.append(f"{sound - running} should run")
        assert not wrongs, f"{wrongs}: {pod}"


def _find_lasting(plan: Obj) -> set[str]:
    """Who runs for ever once all early mishaps are over; nobody in a pod that may get stuck, or has a deadline."""
    spec, scripts = plan["spec"], {name: script[-1] for name, script in plan["scripts"].items()}
    containers = [*spec["containers"], *spec.get("initContainers", ())]
    regular = [c["name"] for c in spec.get("initContainers", ()) if "restartPolicy" not in c]
    stuck = any(c["image"] not in ("nginx:1", "far:1") for c in containers) or "activeDeadlineSeconds" in spec
    stuck = stuck or any(script.run_s is None or script.code for name in regular for script in plan["scripts"][name])
    lasting = {name for name in scripts if name not in regular}
    fleeting = any(scripts[n].run_s is not None or scripts[n].start_error is not None for n in lasting)
    return set() if stuck or fleeting else lasting


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.exists() else []
