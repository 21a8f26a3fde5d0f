"""What must hold whatever happens to pods: every container event and every version of a status is checked here.

The rules are written anew, from what Kubernetes promises, and use nothing of the code that they judge.
Wrongs are collected, not raised: events are told inside of the code under test, which may survive an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.cri_fakes import FakeRuntime
from harness.handler_fakes import FakeHandlers
from podhost.aiokit.clock import Clock
from podhost.cri.runtime import ContainerEvent, ContainerEventType, ContainerState, ContainerStatus
from podhost.store.watch import WatchEvent

Obj = dict[str, Any]
_S = 1_000_000_000
_PHASES = {"Pending": 0, "Running": 1, "Succeeded": 2, "Failed": 2}
_FIRST_BACKOFF_S, _FORGIVEN_AFTER_S = 10, 600
_ENDED_BY_THE_KUBELET = ("DeadlineExceeded", "Evicted")
_GROUPS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def is_sidecar(container: Obj) -> bool:
    return container.get("restartPolicy") == "Always"


@dataclass
class PodHistory:
    """All that was seen of one pod."""

    spec: Obj
    statuses: list[Obj] = field(default_factory=list)
    deleted_at_ns: int | None = None
    ended: bool = False
    """A final phase was written."""
    started: list[ContainerStatus] = field(default_factory=list)
    exited: dict[str, ContainerStatus] = field(default_factory=dict)
    """By container id."""
    images: dict[str, str] = field(default_factory=dict)
    """The image that a container is to have."""
    changed_at_ns: dict[str, int] = field(default_factory=dict)
    """When that was changed last."""

    @property
    def policy(self) -> str:
        return str(self.spec["restartPolicy"])

    @property
    def inits(self) -> list[Obj]:
        return list(self.spec.get("initContainers") or ())

    def is_app(self, name: str) -> bool:
        return any(c["name"] == name for c in self.spec["containers"])

    def find_init(self, name: str) -> int | None:
        return next((i for i, c in enumerate(self.inits) if c["name"] == name), None)

    def starts_of(self, name: str, sandbox_id: str | None = None) -> list[ContainerStatus]:
        return [c for c in self.started if c.name == name and sandbox_id in (None, c.sandbox_id)]

    def has_changed_since(self, name: str, at_ns: int) -> bool:
        return self.changed_at_ns.get(name, -1) >= at_ns

    def on_spec(self, spec: Obj, now_ns: int) -> None:
        self.spec = spec
        for container in (*self.inits, *spec["containers"]):
            name, image = container["name"], container["image"]
            if self.images.setdefault(name, image) != image:
                self.images[name], self.changed_at_ns[name] = image, now_ns


_ENOUGH = 100
"""Wrongs in one history after which nothing more can be learned from it."""


class Ledger:
    """Subscribes to store and runtime; :attr:`wrongs` says what was broken."""

    def __init__(self, runtime: FakeRuntime, handlers: FakeHandlers, clock: Clock) -> None:
        self._runtime = runtime
        self._handlers = handlers
        self._clock = clock
        self.pods: dict[str, PodHistory] = {}
        self.wrongs: list[str] = []

    # -- the store --------------------------------------------------------------------------------------------

    def on_pod(self, event: WatchEvent) -> None:
        document = event.object
        uid = document["metadata"]["uid"]
        pod = self.pods.setdefault(uid, PodHistory(document["spec"]))
        pod.on_spec(document["spec"], self._clock.now_ns())
        gone = event.type == "DELETED" or document["metadata"].get("deletionTimestamp")
        if gone and pod.deleted_at_ns is None:
            pod.deleted_at_ns = self._clock.now_ns()
        status = document["status"]
        if event.type != "DELETED" and (not pod.statuses or status != pod.statuses[-1]):
            before = pod.statuses[-1] if pod.statuses else None
            self.wrongs += [f"{uid}: {wrong}: {status}" for wrong in _find_wrong_status(pod, before, status)]
            pod.statuses.append(status)
            pod.ended = pod.ended or status["phase"] in ("Succeeded", "Failed")

    # -- the runtime ------------------------------------------------------------------------------------------

    def on_container(self, event: ContainerEvent) -> None:
        pod = self.pods.get(event.pod_uid)
        container = self._runtime.containers.get(event.container_id)
        if pod is None or container is None:
            return
        if event.type is ContainerEventType.STARTED:
            self.wrongs += [f"{event.pod_uid}: {wrong}" for wrong in self._find_wrong_start(pod, container)]
            pod.started.append(container)
            if len(self.wrongs) > _ENOUGH:
                asyncio.get_running_loop().stop()
        elif event.type is ContainerEventType.STOPPED:
            pod.exited[container.id] = container

    def _find_wrong_start(self, pod: PodHistory, container: ContainerStatus) -> list[str]:
        name, now = f"{container.name}/{container.attempt}", self._clock.now_ns()
        wrongs = []
        if pod.ended:
            wrongs.append(f"{name} starts in a pod that has ended")
        if pod.deleted_at_ns is not None and now > pod.deleted_at_ns:
            wrongs.append(f"{name} starts in a pod that is being deleted")
        twins = [c for c in self._runtime.containers.values() if _is_twin(c, container)]
        if twins:
            wrongs.append(f"{name} starts beside {twins[0].id}")
        if any(c.attempt >= container.attempt for c in pod.starts_of(container.name)):
            wrongs.append(f"{name} starts again under an old number")
        wrongs += [f"{name} {why}" for why in self._find_open_gates(pod, container)]
        wrongs += [f"{name} {why}" for why in _find_wrong_order(pod, container)]
        wrongs += [f"{name} {why}" for why in _find_wrong_restart(pod, container, now)]
        return wrongs

    def _find_open_gates(self, pod: PodHistory, container: ContainerStatus) -> Iterator[str]:
        """A sidecar's startup probe gates what comes after it, the first time."""
        index = pod.find_init(container.name)
        before = pod.inits if index is None else pod.inits[:index]
        again = pod.starts_of(container.name, container.sandbox_id)
        if again or (index is None and not pod.is_app(container.name)):
            return
        for earlier in before:
            ids = [c.id for c in pod.starts_of(earlier["name"], container.sandbox_id)]
            if "startupProbe" in earlier and not any((i, "startup") in self._handlers.succeeded for i in ids):
                yield f"starts before the startup probe of {earlier['name']} has succeeded"


def _is_twin(one: ContainerStatus, other: ContainerStatus) -> bool:
    same = (one.pod_uid, one.name) == (other.pod_uid, other.name) and one.id != other.id
    return same and one.state is ContainerState.RUNNING


def _find_wrong_order(pod: PodHistory, container: ContainerStatus) -> list[str]:
    """Init containers one by one, sidecars in their place, all others after them."""
    sandbox, index = container.sandbox_id, pod.find_init(container.name)
    if index is None and not pod.is_app(container.name):
        return []  # ephemeral: at any time
    before = pod.inits if index is None else pod.inits[:index]
    wrongs = []
    for earlier in before:
        starts = pod.starts_of(earlier["name"], sandbox)
        exits = [pod.exited.get(c.id) for c in starts]
        if not starts:
            wrongs.append(f"starts before {earlier['name']} has started")
        elif not is_sidecar(earlier) and not any(e and e.exit_code == 0 for e in exits):
            wrongs.append(f"starts before {earlier['name']} has completed")
    if index is not None and not is_sidecar(pod.inits[index]):
        if any(c.sandbox_id == sandbox and pod.is_app(c.name) for c in pod.started):
            wrongs.append("is an init container and starts after the pod was initialised")
        own = [pod.exited.get(c.id) for c in pod.starts_of(container.name, sandbox)]
        if any(e and e.exit_code == 0 for e in own):
            wrongs.append("starts again though it has completed")
    return wrongs


def _find_wrong_restart(pod: PodHistory, container: ContainerStatus, now_ns: int) -> list[str]:
    earlier = pod.starts_of(container.name)
    index = pod.find_init(container.name)
    sidecar = index is not None and is_sidecar(pod.inits[index])
    if not earlier:
        return []
    # A start that was under way has the image from before the change.
    another = container.image_ref != earlier[-1].image_ref
    if another or pod.has_changed_since(container.name, earlier[-1].created_at_ns):
        return []
    last = pod.exited.get(earlier[-1].id)
    if last is None:
        return ["starts before the one before it has exited"]
    wrongs = []
    if pod.policy == "Never" and not sidecar:
        wrongs.append("runs twice under Never")
    if pod.policy == "OnFailure" and not sidecar and last.exit_code == 0 and index is None:
        wrongs.append("runs again under OnFailure though it has succeeded")
    second = len(pod.starts_of(container.name, container.sandbox_id)) > 1
    short = last.finished_at_ns - last.created_at_ns <= _FORGIVEN_AFTER_S * _S
    waited_s = (now_ns - last.finished_at_ns) / _S
    if second and short and waited_s < _FIRST_BACKOFF_S:
        wrongs.append(f"starts {waited_s:g} s after an exit")
    return wrongs


# -- statuses -------------------------------------------------------------------------------------------------


def _find_wrong_status(pod: PodHistory, before: Obj | None, status: Obj) -> list[str]:
    wrongs = [] if before is None else _find_regressions(pod, before, status)
    entries = [entry for group in _GROUPS for entry in status.get(group) or ()]
    for entry in entries:
        for which in ("state", "lastState"):
            ended = entry[which].get("terminated")
            if ended and ended["startedAt"] and ended["startedAt"] > ended["finishedAt"]:
                wrongs.append(f"{entry['name']} finished before it started")
        running, last = entry["state"].get("running"), entry["lastState"].get("terminated")
        if running and last and last["finishedAt"] > running["startedAt"]:
            wrongs.append(f"{entry['name']} runs since before its last end")
    wrongs += [f"{e['name']} {w}" for e in entries for w in _find_wrong_count(pod, e)]
    wrongs += _find_wrong_phase(pod, status)
    wrongs += _find_wrong_conditions(pod, status)
    return wrongs


def _find_wrong_count(pod: PodHistory, entry: Obj) -> list[str]:
    """Who has run N times has a restartCount of N - 1 at least; starts that were refused count as well."""
    running = (entry["state"].get("running") or {}) and entry.get("containerID")
    lives = len(pod.starts_of(entry["name"]))
    return (
        [f"runs for the {lives}th time with restartCount {entry['restartCount']}"]
        if (running and entry["restartCount"] < lives - 1)
        else []
    )


def _find_regressions(pod: PodHistory, before: Obj, status: Obj) -> list[str]:
    wrongs = []
    old, new = before["phase"], status["phase"]
    back = (old, new) == ("Running", "Pending") and _initialises_again(pod, status)
    if (_PHASES[new] < _PHASES[old] and not back) or (old != new and _PHASES[old] == 2):
        wrongs.append(f"phase goes from {old} to {new}")
    if before.get("startTime") not in (None, status.get("startTime")):
        wrongs.append("startTime changes")
    if before.get("observedGeneration", 0) > status.get("observedGeneration", 0):
        wrongs.append("observedGeneration falls")
    for group in _GROUPS:
        newer = {e["name"]: e for e in status.get(group) or ()}
        for entry in before.get(group) or ():
            wrongs += [f"{entry['name']} {w}" for w in _find_entry_regressions(entry, newer.get(entry["name"]))]
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    for condition in before.get("conditions") or ():
        wrongs += _find_condition_regressions(condition, conditions.get(condition["type"]))
    return wrongs


def _find_entry_regressions(old: Obj, new: Obj | None) -> list[str]:
    if new is None:
        return ["has lost its status"]
    wrongs = []
    if new["restartCount"] < old["restartCount"]:
        wrongs.append("restartCount falls")
    ended = old["state"].get("terminated") or old["lastState"].get("terminated") or {}
    if "running" in new["state"] and new.get("containerID") in (ended.get("containerID"), "") and ended:
        wrongs.append("runs again after its end")
    last = old["lastState"].get("terminated")
    if last and not new["lastState"] and new["state"].get("terminated") != last:
        wrongs.append("has forgotten its last state")
    return wrongs


def _find_condition_regressions(old: Obj, new: Obj | None) -> list[str]:
    kind = old["type"]
    if new is None:
        return [f"condition {kind} is lost"]
    if new["lastTransitionTime"] < old["lastTransitionTime"]:
        return [f"transition of {kind} goes back in time"]
    if new["status"] == old["status"] and new["lastTransitionTime"] != old["lastTransitionTime"]:
        return [f"transition of {kind} moves without a change"]
    return []


def _find_wrong_phase(pod: PodHistory, status: Obj) -> list[str]:
    """The phase is what the containers' states say."""
    phase, apps = status["phase"], status.get("containerStatuses") or []
    if not apps:
        return []
    running = [e["name"] for group in _GROUPS[:2] for e in status.get(group) or () if "running" in e["state"]]
    codes = [e["state"]["terminated"]["exitCode"] for e in apps if "terminated" in e["state"]]
    wrongs = []
    # A failed init container ends the pod at once, as in Kubernetes: sidecars are stopped after that.
    if phase in ("Succeeded", "Failed") and running and not _has_failed_init(status):
        wrongs.append(f"{phase} with {running} running")
    if phase == "Succeeded" and (len(codes) < len(apps) or any(codes)):
        wrongs.append("Succeeded, but not every container has")
    if phase == "Running" and not all(_has_run(e) for e in apps):
        wrongs.append("Running, but a container never ran")
    if phase == "Pending" and all("running" in e["state"] for e in apps):
        wrongs.append("Pending, but all containers run")
    # A deleted pod that has not come to another end has failed, as in Kubernetes.
    is_explained = status.get("reason") or pod.deleted_at_ns is not None
    if phase == "Failed" and not is_explained and not any(codes) and not _has_failed_init(status):
        wrongs.append("Failed without a failure")
    return wrongs


def _initialises_again(pod: PodHistory, status: Obj) -> bool:
    """In a new sandbox the init containers run again; as in Kubernetes, the pod is Pending meanwhile."""
    regular = {c["name"] for c in pod.inits if not is_sidecar(c)}
    return any(e["name"] in regular and "terminated" not in e["state"] for e in status.get(_GROUPS[0]) or ())


def _has_run(entry: Obj) -> bool:
    return "waiting" not in entry["state"] or "terminated" in entry["lastState"]


def _has_failed_init(status: Obj) -> bool:
    ends = [e["state"].get("terminated") or e["lastState"].get("terminated") for e in status.get(_GROUPS[0]) or ()]
    return any(end and end["exitCode"] for end in ends)


def _find_wrong_conditions(pod: PodHistory, status: Obj) -> list[str]:
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    if not conditions.keys() >= {"Ready", "ContainersReady"}:
        return []
    entries = list(status.get("containerStatuses") or ())
    sidecars = {c["name"] for c in pod.inits if is_sidecar(c)}
    entries += [e for e in status.get("initContainerStatuses") or () if e["name"] in sidecars]
    all_ready = all(e["ready"] and "running" in e["state"] for e in entries)
    wrongs = []
    if conditions["ContainersReady"] == "True" and not all_ready:
        wrongs.append("ContainersReady, but one is not")
    if conditions["Ready"] == "True" and conditions["ContainersReady"] != "True":
        wrongs.append("Ready without ContainersReady")
    return wrongs


# -- once all is quiet ----------------------------------------------------------------------------------------


def find_unrest(pod: Obj, running: set[str], *, mounted: bool) -> Iterator[str]:
    """What is not as it should be, long after the last event: the status tells what runs, who does not run has a
    reason, and who is over holds nothing.
    """
    spec, status = pod["spec"], pod["status"]
    entries = {e["name"]: e for group in _GROUPS for e in status.get(group) or ()}
    told = {name for name, entry in entries.items() if "running" in entry["state"]}
    if told != running:
        yield f"{running} run, the status says {told}"
    if status["phase"] in ("Succeeded", "Failed"):
        if running or mounted:
            yield "is over and still holds something"
        if spec["restartPolicy"] == "Always" and status.get("reason") not in _ENDED_BY_THE_KUBELET:
            yield "has ended under Always"
        return
    if status["observedGeneration"] != pod["metadata"]["generation"]:
        yield "the last change was not observed"
    if "activeDeadlineSeconds" in spec:
        yield "lives on after its deadline"
    if entries and not any(_may_go_on(spec["restartPolicy"], entries[c["name"]]) for c in spec["containers"]):
        yield "all but sidecars have ended: they keep a pod from completing"
    yield from _find_idle(spec, entries)


def _may_go_on(policy: str, entry: Obj) -> bool:
    """Not ended for good."""
    ended = entry["state"].get("terminated")
    return ended is None or policy == "Always" or (policy == "OnFailure" and ended["exitCode"] != 0)


def _find_idle(spec: Obj, entries: dict[str, Obj]) -> Iterator[str]:
    initialised = any("running" in entries[c["name"]]["state"] for c in spec["containers"])
    inits = [entries[c["name"]]["state"] for c in spec.get("initContainers") or ()]
    reached = all("running" in state or state.get("terminated", {}).get("exitCode") == 0 for state in inits)
    for container in spec["containers"]:
        state = entries[container["name"]]["state"]
        if reached and spec["restartPolicy"] == "Always" and "terminated" in state:
            yield f"{container['name']} is not started again"
        if initialised and state.get("waiting", {}).get("reason") == "PodInitializing":
            yield f"{container['name']} is not started"
    for container in spec.get("initContainers") or () if initialised else ():
        ended = entries[container["name"]]["state"].get("terminated")
        if is_sidecar(container) and ended:
            yield f"{container['name']} is not started again"
        if not is_sidecar(container) and (ended is None or ended["exitCode"]):
            yield f"{container['name']} has not completed"
