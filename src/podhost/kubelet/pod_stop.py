"""The steps that take a pod down.  All are idempotent: a new daemon repeats them from the first."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Iterable

from podhost.aiokit import failpoint
from podhost.api import models
from podhost.api.objects import read_pod_uid
from podhost.cri.ids import ContainerId, PodUID
from podhost.cri.runtime import ContainerStatus
from podhost.errors import ConflictError, NotFoundError
from podhost.kubelet.grace_period import GracePeriod
from podhost.kubelet.hooks import run_pre_stop
from podhost.kubelet.node_context import Document, NodeContext, format_field_path
from podhost.kubelet.pod_actions import ContainerKill, is_sidecar
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.sandbox_config import compute_log_directory
from podhost.linux import fs
from podhost.store.keys import ObjectKey

_log = logging.getLogger(__name__)

_STEP_CONTAINERS = failpoint.register("pod.stop.10-containers")
_STEP_SANDBOX = failpoint.register("pod.stop.20-sandbox")
_STEP_REMOVED = failpoint.register("pod.stop.30-removed")
_STEP_VOLUMES = failpoint.register("pod.stop.40-volumes")
_STEP_FILES = failpoint.register("pod.stop.50-files")
_STEP_OBJECT = failpoint.register("pod.stop.60-object")
_MIN_GRACE_S = 2.0
"""What a container gets between its stop signal and SIGKILL, however much its hook and others have used up."""


class PodStopper:
    """Effects of stopping; decides nothing."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._grace: GracePeriod | None = None
        self._signalled: set[ContainerId] = set()

    async def stop_containers(
        self, document: Document, pod: models.Pod, observed: PodRuntimeStatus, grace_s: float
    ) -> None:
        """Stop what runs.

        preStop hooks of all run at once; stop signals go to app containers first, then to sidecars in the reverse
        of their order (KEP-753).  All of it shares one grace period.
        """
        self._grace = grace = GracePeriod(grace_s)
        self._signalled.clear()
        running = observed.running()
        ended = {container.name: asyncio.Event() for container in running}
        before = compute_stop_order(pod, frozenset(ended))
        try:
            await _gather(
                self._stop_in_turn(document, pod, c, grace, [ended[name] for name in before[c.name]], ended[c.name])
                for c in running
            )
        finally:
            self._grace = None
        failpoint.hit(_STEP_CONTAINERS)

    async def _stop_in_turn(
        self,
        document: Document,
        pod: models.Pod,
        container: ContainerStatus,
        grace: GracePeriod,
        before: list[asyncio.Event],
        ended: asyncio.Event,
    ) -> None:
        self._tell(document, pod, container.name, f"Stopping container {container.name}")
        try:
            await run_pre_stop(self._context, document, pod, container, grace)
            for other in before:
                await grace.limit(other.wait())
            self._signalled.add(container.id)
            await self._context.runtime.stop_container(container.id, max(grace.left_s, _MIN_GRACE_S))
        finally:
            ended.set()

    def _tell(self, document: Document, pod: models.Pod, name: str, message: str) -> None:
        where = format_field_path(pod, name)
        self._context.recorder.event(document, "Normal", "Killing", message, field_path=where)

    async def kill_container(self, document: Document, pod: models.Pod, kill: ContainerKill) -> None:
        """Stop one container of a pod that lives on; without patience, also without its hook."""
        self._tell(document, pod, kill.name, kill.message)
        grace_s = compute_grace_s(pod) if kill.grace_s is None else kill.grace_s
        if grace_s > 0:
            grace = GracePeriod(grace_s)
            try:
                container = self._context.runtime.container_status(kill.id)
            except NotFoundError:
                return
            await run_pre_stop(self._context, document, pod, container, grace)
            grace_s = max(grace.left_s, _MIN_GRACE_S)
        await self._context.runtime.stop_container(kill.id, grace_s)

    async def shorten_grace(self, observed: PodRuntimeStatus, grace_s: float) -> None:
        """A second deletion with less patience: hooks, turns and what has its signal already end sooner."""
        if self._grace is None:
            return
        self._grace.shorten(grace_s)
        signalled = [c.id for c in observed.running() if c.id in self._signalled]
        await _gather(self._context.runtime.stop_container(i, max(grace_s, _MIN_GRACE_S)) for i in signalled)

    async def stop_sandboxes(self, observed: PodRuntimeStatus) -> None:
        """Old sandboxes, before a new one takes their place."""
        await _gather(self._context.runtime.stop_pod_sandbox(s.id) for s in observed.sandboxes)

    async def release(self, observed: PodRuntimeStatus, uid: PodUID) -> None:
        """A finished pod gives network and volumes back; containers and logs stay to be read."""
        await self._stop_or_make_room(observed, uid)
        await self._context.volumes.unmount_volumes(uid)

    async def _stop_or_make_room(self, observed: PodRuntimeStatus, uid: PodUID) -> None:
        """Stop the sandboxes of ended containers.  What the volumes held may be the room that this lacks."""
        try:
            await self.stop_sandboxes(observed)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            await self._context.volumes.unmount_volumes(uid)
            await self.stop_sandboxes(observed)

    async def remove(self, pod: models.Pod, observed: PodRuntimeStatus) -> None:
        """Everything of the pod on this machine goes."""
        runtime = self._context.runtime
        await self._stop_or_make_room(observed, PodUID(pod.metadata.uid))
        failpoint.hit(_STEP_SANDBOX)
        await _gather(runtime.remove_pod_sandbox(s.id) for s in observed.sandboxes)
        failpoint.hit(_STEP_REMOVED)
        await self._context.volumes.unmount_volumes(PodUID(pod.metadata.uid))
        failpoint.hit(_STEP_VOLUMES)
        await asyncio.to_thread(self._remove_files, pod)
        failpoint.hit(_STEP_FILES)

    def _remove_files(self, pod: models.Pod) -> None:
        settings = self._context.settings
        fs.remove_tree(compute_log_directory(pod, settings))
        fs.remove_tree(settings.state_dir / pod.metadata.uid)

    def delete_object(self, pod: models.Pod) -> None:
        """The API object goes last; with finalizers it stays until they are gone."""
        meta = pod.metadata
        key = ObjectKey("pods", meta.namespace, meta.name)
        current = self._context.store.find(key)
        if current is None or read_pod_uid(current) != meta.uid:
            return
        try:
            if current["metadata"].get("finalizers"):
                metadata = {**current["metadata"], "deletionGracePeriodSeconds": 0}
                self._context.store.update(key, {**current, "metadata": metadata})
            else:
                self._context.store.delete(key, expected_uid=current["metadata"]["uid"])
        except (NotFoundError, ConflictError) as error:
            _log.debug("pod %s/%s went away by itself: %s", meta.namespace, meta.name, error)
        failpoint.hit(_STEP_OBJECT)


def compute_stop_order(pod: models.Pod, running: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Whose end each running container waits for, before its own stop signal: a sidecar for all that use it."""
    order: dict[str, tuple[str, ...]] = dict.fromkeys(running, ())
    users = tuple(c.name for c in pod.spec.containers if c.name in running)
    for container in reversed(pod.spec.init_containers):
        if is_sidecar(container) and container.name in running:
            order[container.name] = users
            users = (*users, container.name)
    return order


def compute_grace_s(pod: models.Pod) -> float:
    """Patience with a container: of the deletion, else of the spec."""
    meta_grace = pod.metadata.deletion_grace_period_seconds
    if meta_grace is not None:
        return float(meta_grace)
    grace = pod.spec.termination_grace_period_seconds
    return 30.0 if grace is None else float(grace)


async def _gather(calls: Iterable[Awaitable[None]]) -> None:
    """All of them to their end; then the first failure, if any."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
