"""PodChannelsApi on store, runtime and kernel; and the Event when a container fails for a port that another holds.

While nobody asks it only notes the first process of each container that starts: the kernel names the last sender of
a message queue by a number that says nothing once its process has ended.  What the answer needs is imported with the
first question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from podhost.aiokit.clock import Clock
from podhost.aiokit.tasks import Tasks
from podhost.api.objects import read_pod_uid
from podhost.channels.log_tail import read_log_tail
from podhost.channels.wanted_port import find_wanted_port
from podhost.cri.ids import PodUID
from podhost.cri.runtime import (
    ContainerEvent,
    ContainerEventType,
    ContainerState,
    ContainerStatus,
    RuntimeService,
    SandboxState,
)
from podhost.errors import NotFoundError
from podhost.linux.syscall_trace import MissedLookup, observe_missed_lookups, remove_stale_traces
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

if TYPE_CHECKING:
    from podhost.channels.build import Surroundings
    from podhost.channels.graph import ChannelGraph
    from podhost.channels.snapshot import ContainerFacts, PodTarget


Document = Mapping[str, Any]
_MAX_EARLIER = 2000
_AT_ONCE = 2
_STATES = {
    ContainerState.CREATED: "created",
    ContainerState.RUNNING: "running",
    ContainerState.EXITED: "exited",
    ContainerState.UNKNOWN: "unknown",
}


class Recorder(Protocol):
    """Of :class:`podhost.store.events.EventRecorder`."""

    def event(
        self,
        involved: dict[str, Any],
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        field_path: str = "",
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _Trace:
    """What was seen by watching for a while, or why nothing could be."""

    missed: tuple[MissedLookup, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Logs:
    """Where the last two attempts of each container log."""

    statuses: Mapping[str, tuple[ContainerStatus, ...]]

    def read(self) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(line for status in attempts for line in read_log_tail(status.log_path))
            for name, attempts in self.statuses.items()
        }


class ChannelObserver:
    """Implements :class:`podhost.cri.channels.PodChannelsApi`."""

    def __init__(
        self,
        store: Store,
        runtime: RuntimeService,
        recorder: Recorder,
        clock: Clock,
        *,
        host_addresses: tuple[str, ...] = (),
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._recorder = recorder
        self._clock = clock
        self._host_addresses = host_addresses
        self._earlier: dict[PodUID, dict[int, str]] = {}
        self._places: dict[PodUID, tuple[str, str]] = {}
        self._tasks = Tasks()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._listeners: list[Callable[[str, str], None]] = []
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin to listen to the store and the runtime."""
        for pod in self._store.list("pods")[0]:
            self._remember_place(pod)
        for status in self._runtime.list_containers():
            self._note_process(status)
        self._tasks.spawn(asyncio.to_thread(remove_stale_traces), name="remove-stale-traces")
        self._undo = [self._store.subscribe("pods", self._on_pod), self._runtime.subscribe(self._on_container)]

    async def stop(self) -> None:
        """Idempotent."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        await self._tasks.cancel_all()

    # -- PodChannelsApi -------------------------------------------------------------------------------------

    async def observe(self, namespace: str, name: str, *, trace_s: float = 0.0) -> dict[str, Any]:
        """See :class:`podhost.cri.channels.PodChannelsApi`."""
        pod = self._store.find(ObjectKey("pods", namespace, name))
        if pod is None:
            raise NotFoundError(f'cannot observe pod "{namespace}/{name}": there is none')
        trace = await asyncio.to_thread(_observe_trace, trace_s) if trace_s > 0 else None
        from podhost.channels.graph import build_document

        return build_document(await self.observe_graph(pod, trace), self._metadata_of(pod))

    async def observe_all(self, namespace: str | None) -> list[dict[str, Any]]:
        """See :class:`podhost.cri.channels.PodChannelsApi`."""
        pods, _ = self._store.list("pods", namespace)
        graphs = await asyncio.gather(*(self.observe_graph(pod) for pod in pods))
        from podhost.channels.graph import build_document

        return [build_document(graph, self._metadata_of(pod)) for graph, pod in zip(graphs, pods, strict=True)]

    def subscribe(self, callback: Callable[[str, str], None]) -> Callable[[], None]:
        """See :class:`podhost.cri.channels.PodChannelsApi`."""
        self._listeners.append(callback)

        def undo() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return undo

    async def observe_graph(self, pod: Document, trace: _Trace | None = None) -> ChannelGraph:
        """The graph of a pod, as of now."""
        from podhost.channels.build import Surroundings

        uid = PodUID(read_pod_uid(pod))
        attempts = self._attempts_of(uid)
        target = self._build_target(pod, uid, attempts)
        around = Surroundings(
            pods=tuple(self._store.list("pods")[0]),
            services=tuple(self._store.list("services")[0]),
            host_addresses=self._host_addresses,
        )
        async with self._slots:
            graph = await asyncio.to_thread(
                _observe, target, pod, around, _Logs(attempts), self._now(), trace or _Trace()
            )
        if self._places.get(uid):
            seen = {process.pid: each.name for each in graph.containers for process in each.processes}
            self._remember(uid, seen)
        return graph

    # -- what is asked of store and runtime --------------------------------------------------------------------

    def _attempts_of(self, uid: PodUID) -> dict[str, tuple[ContainerStatus, ...]]:
        """The last two attempts of each container, older first."""
        found: dict[str, list[ContainerStatus]] = {}
        for status in self._runtime.list_containers(uid):
            found.setdefault(status.name, []).append(status)
        return {
            name: tuple(sorted(statuses, key=lambda status: status.created_at_ns)[-2:])
            for name, statuses in found.items()
        }

    def _build_target(
        self, pod: Document, uid: PodUID, attempts: Mapping[str, tuple[ContainerStatus, ...]]
    ) -> PodTarget:
        from podhost.channels.snapshot import PodTarget

        spec, metadata = pod.get("spec") or {}, pod["metadata"]
        order = [
            c["name"]
            for group in ("initContainers", "containers", "ephemeralContainers")
            for c in spec.get(group) or ()
        ]
        sandbox = next((s for s in self._runtime.list_pod_sandboxes(uid) if s.state is SandboxState.READY), None)
        inits = {c["name"] for c in spec.get("initContainers") or ()}
        latest = {name: statuses[-1] for name, statuses in attempts.items()}
        # An init container that does not run takes no part in anything, or not yet.
        shown = {name for name in order if name not in inits or (name in latest and latest[name].pid)}
        return PodTarget(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=uid,
            containers=tuple(_build_container(name, latest.get(name)) for name in order if name in shown),
            netns=sandbox.netns_path if sandbox is not None and not sandbox.host_network else None,
            host_ipc=bool(spec.get("hostIPC")),
            mount_points={
                container["name"]: tuple(m["mountPath"].rstrip("/") or "/" for m in container.get("volumeMounts") or ())
                for group in ("initContainers", "containers", "ephemeralContainers")
                for container in spec.get(group) or ()
            },
            earlier_pids=dict(self._earlier.get(uid, {})),
        )

    def _metadata_of(self, pod: Document) -> dict[str, Any]:
        metadata = pod["metadata"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        lent = {name: metadata[name] for name in ("creationTimestamp", "labels") if name in metadata}
        return {
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "resourceVersion": str(self._store.current_rv()),
            **lent,
            "ownerReferences": [owner],
        }

    def _now(self) -> str:
        now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"

    # -- events ------------------------------------------------------------------------------------------------

    def _remember_place(self, pod: Document) -> None:
        metadata = pod["metadata"]
        self._places[PodUID(read_pod_uid(pod))] = (metadata.get("namespace", ""), metadata["name"])

    def _remember(self, uid: PodUID, seen: Mapping[int, str]) -> None:
        known = self._earlier.setdefault(uid, {})
        known.update(seen)
        while len(known) > _MAX_EARLIER:
            del known[next(iter(known))]

    def _note_process(self, status: ContainerStatus) -> None:
        if status.pid:
            self._remember(status.pod_uid, {status.pid: status.name})

    def _on_pod(self, event: WatchEvent) -> None:
        uid = PodUID(read_pod_uid(event.object))
        self._remember_place(event.object)
        place = self._places[uid]
        if event.type == "DELETED":
            self._earlier.pop(uid, None)
            self._places.pop(uid, None)
        self._tell(place)

    def _on_container(self, event: ContainerEvent) -> None:
        place = self._places.get(event.pod_uid)
        if place is None:
            return
        if event.type in (ContainerEventType.STARTED, ContainerEventType.STOPPED):
            try:
                status = self._runtime.container_status(event.container_id)
            except NotFoundError:
                return
            self._note_process(status)
            if event.type is ContainerEventType.STOPPED and status.exit_code:
                self._tasks.spawn(self._report_port_conflict(place, status), name=f"port-conflict-{status.id}")
        self._tell(place)

    def _tell(self, place: tuple[str, str]) -> None:
        for callback in tuple(self._listeners):
            callback(*place)

    async def _report_port_conflict(self, place: tuple[str, str], status: ContainerStatus) -> None:
        """Say on the pod who holds the port that a container could not have.  Looks only when its log says so."""
        lines = await asyncio.to_thread(read_log_tail, status.log_path)
        pod = self._store.find(ObjectKey("pods", *place))
        if find_wanted_port(lines) is None or pod is None:
            return
        graph = await self.observe_graph(pod)
        for problem in graph.problems:
            if problem.code == "port-in-use" and problem.containers[0] == status.name:
                field_path = f"spec.{_group_of(pod, status.name)}{{{status.name}}}"
                self._recorder.event(pod, "Warning", "PortInUse", problem.message, field_path=field_path)


def _group_of(pod: Document, name: str) -> str:
    """The list of the spec that a container is in."""
    groups = ("containers", "initContainers", "ephemeralContainers")
    spec = pod.get("spec") or {}
    return next((g for g in groups for c in spec.get(g) or () if c["name"] == name), groups[0])


def _build_container(name: str, status: ContainerStatus | None) -> ContainerFacts:
    from podhost.channels.snapshot import ContainerFacts

    if status is None:
        return ContainerFacts(name=name, state="waiting")
    return ContainerFacts(name=name, state=_STATES[status.state], pid=status.pid, id=status.id)


def _observe_trace(duration_s: float) -> _Trace:
    """Blocking, for ``duration_s``."""
    try:
        return _Trace(missed=tuple(observe_missed_lookups(duration_s)))
    except OSError as error:
        return _Trace(gaps=(f"cannot observe calls for IPC objects that do not exist: {error}",))


def _observe(
    target: PodTarget, pod: Document, around: Surroundings, logs: _Logs, observed_at: str, trace: _Trace
) -> ChannelGraph:
    """Blocking: reads the kernel and the logs, then computes."""
    from podhost.channels.build import Surroundings, build_graph
    from podhost.channels.snapshot import observe_snapshot

    snapshot = observe_snapshot(target)
    snapshot = replace(snapshot, missed=trace.missed, gaps=(*snapshot.gaps, *trace.gaps))
    surroundings = Surroundings(
        pods=around.pods, services=around.services, host_addresses=around.host_addresses, logs=logs.read()
    )
    return build_graph(snapshot, pod, surroundings, observed_at=observed_at)
