"""The kubelet's own API: logs, exec, attach and port-forward of the pods on this node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from podhost.api import errors
from podhost.api.objects import read_pod_uid
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.node import ByteStream, LogOptions, NodeHttpApi
from podhost.cri.runtime import (
    ContainerEvent,
    ContainerEventType,
    ContainerState,
    ContainerStatus,
    ExecSession,
    RuntimeService,
)
from podhost.errors import NotFoundError, PodhostError, UnavailableError
from podhost.kubelet.container_status import ID_PREFIX
from podhost.kubelet.go_format import quote
from podhost.kubelet.kubelet import Kubelet
from podhost.kubelet.log_reader import LogReader, LogSource
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.port_forward import NobodyListensError, connect_in_namespace
from podhost.store.keys import ObjectKey

_TERMINAL = ("Succeeded", "Failed")


class KubeletNodeApi:
    """Implements :class:`podhost.cri.node.NodeApi`."""

    def __init__(self, kubelet: Kubelet, http: NodeHttpApi) -> None:
        self.http = http
        self._kubelet = kubelet
        self._context = kubelet.context
        self._watcher = kubelet.log_watcher

    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Chunks of whole log lines; errors are raised here, before the first chunk."""
        document = self._get_pod(namespace, pod)
        status = self._find_container_status(document, container)
        container_id = choose_log_container(status, pod, container, previous=options.previous)
        runtime = self._context.runtime
        try:
            facts = runtime.container_status(container_id)
        except NotFoundError:
            if options.previous:
                raise errors.bad_request(_previous_not_found(pod, container)) from None
            text = f"unable to retrieve container logs for {ID_PREFIX}{container_id}"
            raise errors.internal_error(text) from None
        source = LogSource(
            path=facts.log_path,
            is_running=lambda: _is_running(runtime, container_id),
            on_end=lambda callback: _subscribe_end(runtime, container_id, callback),
        )
        return LogReader(source, options, self._watcher).read()

    async def exec(
        self, namespace: str, pod: str, container: str, command: tuple[str, ...], *, tty: bool, stdin: bool
    ) -> ExecSession:
        """Run a command in a running container."""
        target = self._find_running(namespace, pod, container, "exec into")
        try:
            return await self._context.runtime.exec(target.id, command, tty=tty, stdin=stdin)
        except NotFoundError as error:
            raise self._not_found(container) from error
        except PodhostError as error:
            raise errors.internal_error(str(error)) from error

    async def attach(self, namespace: str, pod: str, container: str, *, tty: bool, stdin: bool) -> ExecSession:
        """Streams of a running container's main process."""
        target = self._find_running(namespace, pod, container, "attach to")
        try:
            return await self._context.runtime.attach(target.id, tty=tty, stdin=stdin)
        except NotFoundError as error:
            raise self._not_found(container) from error
        except PodhostError as error:
            raise errors.internal_error(str(error)) from error

    async def port_forward(self, namespace: str, pod: str, port: int) -> ByteStream:
        """Connect to a port on the pod's loopback."""
        document = self._get_pod(namespace, pod)
        uid = PodUID(read_pod_uid(document))
        worker = self._kubelet.find_worker(uid)
        sandbox = worker.observe().ready_sandbox if worker is not None else None
        if sandbox is None:
            phase = (document.get("status") or {}).get("phase") or "Pending"
            raise errors.bad_request(f"unable to forward port because pod is not running. Current status={phase}")
        netns = None if sandbox.host_network else sandbox.netns_path
        try:
            return await connect_in_namespace(netns, port)
        except NobodyListensError as error:
            where = quote(str(netns or "host"))
            raise UnavailableError(
                f"error forwarding port {port} to pod {sandbox.id}, uid : failed to execute portforward in network "
                f"namespace {where}: failed to connect to localhost:{port} inside namespace {quote(sandbox.id)}, "
                f"IPv4: {error.causes[0]} IPv6 {error.causes[1]} "
            ) from error

    # -- finding --------------------------------------------------------------------------------------------

    def _get_pod(self, namespace: str, name: str) -> Mapping[str, Any]:
        document = self._context.store.find(ObjectKey("pods", namespace, name))
        if document is None:
            raise errors.not_found("pods", name)
        return document

    def _worker_of(self, document: Mapping[str, Any]) -> PodWorker | None:
        return self._kubelet.find_worker(PodUID(read_pod_uid(document)))

    def _find_container_status(self, document: Mapping[str, Any], container: str) -> Mapping[str, Any]:
        """The status as of now; that in the store may lag behind by a few milliseconds."""
        pod = document["metadata"]["name"]
        if not _has_container(document, container):
            raise errors.bad_request(f"container {container} is not valid for pod {pod}")
        worker = self._worker_of(document)
        if worker is not None:
            ending = bool(document["metadata"].get("deletionTimestamp"))
            status = worker.generate_status(worker.observe(), is_ending=ending)
        else:
            status = document.get("status") or {}
        for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
            for entry in status.get(field) or ():
                if entry["name"] == container:
                    return dict(entry)
        raise errors.bad_request(f"container {quote(container)} in pod {quote(pod)} is not available")

    def _find_running(self, namespace: str, pod: str, container: str, verb: str) -> ContainerStatus:
        document = self._get_pod(namespace, pod)
        phase = (document.get("status") or {}).get("phase")
        if not _has_container(document, container):
            raise errors.bad_request(f"container {container} is not valid for pod {pod}")
        if phase in _TERMINAL:
            raise errors.bad_request(f"cannot {verb} a container in a completed pod; current phase is {phase}")
        uid = PodUID(read_pod_uid(document))
        for status in self._context.runtime.list_containers(uid):
            if status.name == container and status.state is ContainerState.RUNNING:
                return status
        raise self._not_found(container)

    def _not_found(self, container: str) -> errors.ApiError:
        return errors.internal_error(f"unable to upgrade connection: container not found ({quote(container)})")


def choose_log_container(status: Mapping[str, Any], pod: str, container: str, *, previous: bool) -> ContainerId:
    """Which of a container's attempts is meant (the kubelet's validateContainerLogStatus).  Pure.

    Raises:
        ApiError: 400 with the kubelet's text.
    """
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated") or {}
    if previous:
        if not last.get("containerID"):
            raise errors.bad_request(_previous_not_found(pod, container))
        return _parse_id(last["containerID"])
    if "running" in state and status.get("containerID"):
        return _parse_id(status["containerID"])
    terminated = state.get("terminated") or {}
    if terminated.get("containerID"):
        return _parse_id(terminated["containerID"])
    if last.get("containerID"):
        return _parse_id(last["containerID"])
    where = f"container {quote(container)} in pod {quote(pod)} is waiting to start"
    reason = (state.get("waiting") or {}).get("reason")
    if reason == "ErrImagePull":
        raise errors.bad_request(f"{where}: image can't be pulled")
    if reason == "ImagePullBackOff":
        raise errors.bad_request(f"{where}: trying and failing to pull image")
    if reason:
        raise errors.bad_request(f"{where}: {reason}")
    raise errors.bad_request(f"{where} - no logs yet")


def _previous_not_found(pod: str, container: str) -> str:
    return f"previous terminated container {quote(container)} in pod {quote(pod)} not found"


def _parse_id(text: str) -> ContainerId:
    return ContainerId(text.rpartition("://")[2])


def _has_container(document: Mapping[str, Any], name: str) -> bool:
    spec = document.get("spec") or {}
    groups = ("containers", "initContainers", "ephemeralContainers")
    return any(c.get("name") == name for group in groups for c in spec.get(group) or ())


def _is_running(runtime: RuntimeService, container_id: ContainerId) -> bool:
    try:
        state = runtime.container_status(container_id).state
    except NotFoundError:
        return False
    return state in (ContainerState.RUNNING, ContainerState.CREATED)


def _subscribe_end(
    runtime: RuntimeService, container_id: ContainerId, callback: Callable[[], None]
) -> Callable[[], None]:
    ends = (ContainerEventType.STOPPED, ContainerEventType.DELETED)

    def on_event(event: ContainerEvent) -> None:
        if event.container_id == container_id and event.type in ends:
            callback()

    return runtime.subscribe(on_event)
