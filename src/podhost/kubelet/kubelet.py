"""The kubelet of one node: connects store and runtime with one worker a pod."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from podhost.aiokit.clock import Clock
from podhost.aiokit.keyed_worker import KeyedWorkers
from podhost.aiokit.tasks import Tasks
from podhost.api.objects import is_mirror_pod
from podhost.cri.ids import PodUID
from podhost.cri.images import ImageService
from podhost.cri.runtime import ContainerEvent, ContainerEventType, DnsConfig, RuntimeService
from podhost.cri.volumes import PodVolumes
from podhost.errors import PodhostError
from podhost.kubelet.eviction import VolumeLimits
from podhost.kubelet.image_puller import ImagePuller
from podhost.kubelet.log_rotation import rotate_logs
from podhost.kubelet.log_watcher import LogWatcher
from podhost.kubelet.mount_retries import MountRetries
from podhost.kubelet.node import register_node, try_register_node
from podhost.kubelet.node_context import Document, HostFacts, NodeContext, Recorder, read_host_facts
from podhost.kubelet.node_lease import lease_key, renew_lease
from podhost.kubelet.pod_admission import PodAdmission
from podhost.kubelet.pod_handlers import PodHandlers
from podhost.kubelet.pod_status import is_terminal
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.pressure import NodePressure
from podhost.kubelet.recovery import recover_orphans
from podhost.kubelet.settings import KubeletSettings
from podhost.kubelet.static_pods import StaticPods
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

_log = logging.getLogger(__name__)

_PROGRESS = (ContainerEventType.CREATED, ContainerEventType.STARTED)


class Kubelet:
    """Runs the pods that are bound to this node.

    Args:
        settings: Values of this instance.
        store: Where the API objects are.
        runtime: Sandboxes and containers; ``recover`` has been called before :meth:`start`.
        images: The machine's images.
        volumes: Pods' volumes.
        recorder: Writes Events.
        clock: Time of day.
    """

    def __init__(
        self,
        settings: KubeletSettings,
        store: Store,
        runtime: RuntimeService,
        images: ImageService,
        volumes: PodVolumes,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self.context = NodeContext(
            settings=settings,
            store=store,
            runtime=runtime,
            images=images,
            volumes=volumes,
            recorder=recorder,
            clock=clock,
            handlers=PodHandlers(runtime),
            started_at_ns=clock.now_ns(),
            host=HostFacts(0, 0, DnsConfig()),
        )
        self.log_watcher = LogWatcher()
        self._puller = ImagePuller(self.context)
        self._pods: dict[PodUID, PodWorker] = {}
        self._unreadable: set[PodUID] = set()
        self._limits = VolumeLimits(self.context, self._pods)
        self.pressure = NodePressure(self.context, self._pods)
        self._admission = PodAdmission(self.context, self._pods)
        self._workers: KeyedWorkers[str, None] = KeyedWorkers(self._sync, name="pod", on_error=self._on_sync_failed)
        self._tasks = Tasks()
        self._mount_retries = MountRetries(self.refresh_volumes)
        self._undo: list[object] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        directory = settings.static_pod_dir
        self._static = StaticPods(self.context, directory, self._admit) if directory is not None else None

    async def start(self) -> None:
        """Register the node, take up the pods of the store, sweep what belongs to none."""
        context = self.context
        context.host = await asyncio.to_thread(read_host_facts, context.settings)
        # A full disk keeps no kubelet from starting: who else would evict the pod that fills it?
        if not try_register_node(context, renew_lease):
            self.pressure.tell_later()
        documents = [d for d in context.store.list("pods")[0] if self._is_ours(d)]
        self._undo = [
            context.runtime.subscribe(self._on_container_event),
            context.store.subscribe("pods", self._on_pod),
            context.store.subscribe("nodes", self._on_node),
            context.store.subscribe(lease_key("").resource, self._on_lease),
            context.store.subscribe("configmaps", lambda e: self._on_object("ConfigMap", e)),
            context.store.subscribe("secrets", lambda e: self._on_object("Secret", e)),
        ]
        for document in documents:
            # Objects may have changed, and tokens run out, while no daemon was there.
            if (worker := self._admit(document)) is not None:
                self.refresh_volumes(worker.uid)
        if self._static is not None:
            await self._static.start()
        self._sweep()
        context.qos.start(context.host.cpu_millis)
        self.pressure.start()
        self._arm("relist", context.settings.relist_interval_s, self._relist)
        self._arm("logs", context.settings.housekeeping_interval_s, self._check_logs)

    async def stop(self) -> None:
        """Stop looking; containers go on.  Idempotent."""
        for undo in self._undo:
            assert callable(undo)
            undo()
        self._undo.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._mount_retries.stop()
        if self._static is not None:
            await self._static.stop()
        await self._limits.stop()
        await self.pressure.stop()
        await self.context.qos.stop()
        await self._workers.stop()
        await asyncio.gather(*(pod.stop() for pod in self._pods.values()))
        await self._tasks.cancel_all()
        await self.log_watcher.close()
        self.context.handlers.close()

    async def stop_containers(self, max_grace_s: float) -> None:
        """The machine ends: all containers, each pod's in its order and with its hooks; pods stay in the store.

        After :meth:`stop`.  A pod that cannot be stopped keeps no other from it.
        """
        stops = (pod.stop_containers(max_grace_s) for pod in self._pods.values())
        for result in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("cannot stop the containers of a pod: %s", result)
        self.context.handlers.close()

    def find_worker(self, uid: PodUID) -> PodWorker | None:
        """The worker of a pod, for those who ask for its present state."""
        return self._pods.get(uid)

    def list_workers(self) -> list[PodWorker]:
        """Those of all pods of this node."""
        return list(self._pods.values())

    # -- events ---------------------------------------------------------------------------------------------

    def _is_ours(self, document: Document) -> bool:
        bound = (document.get("spec") or {}).get("nodeName") == self.context.settings.node_name
        return bound and not is_mirror_pod(document)

    def _on_pod(self, event: WatchEvent) -> None:
        document = event.object
        if self._static is not None and is_mirror_pod(document):
            self._static.on_mirror(event)
            return
        if not self._is_ours(document):
            return
        uid = PodUID(document["metadata"]["uid"])
        worker = self._pods.get(uid)
        if event.type == "DELETED":
            self._unreadable.discard(uid)
            if worker is not None:
                worker.on_object_gone()
        elif worker is None:
            self._admit(document)
        else:
            worker.on_document(document)
            self._admission.on_changed(worker)
            if event.previous is not None and _shown_in_files(event.previous) != _shown_in_files(document):
                self.refresh_volumes(uid)

    def _on_node(self, event: WatchEvent) -> None:
        """There is only this one; without its object no pod would be bound any more."""
        if event.type == "DELETED" and event.object["metadata"]["name"] == self.context.settings.node_name:
            # Not now: the deletion is still being told to the others.
            asyncio.get_running_loop().call_soon(self._register)

    def _on_lease(self, event: WatchEvent) -> None:
        """A node without a Lease counts as dead for those who look at it."""
        metadata = event.object["metadata"]
        if event.type == "DELETED" and lease_key(metadata["name"]) == lease_key(self.context.settings.node_name):
            asyncio.get_running_loop().call_soon(renew_lease, self.context)

    def _register(self) -> None:
        register_node(self.context)
        renew_lease(self.context)

    def release_static_pods(self) -> None:
        """End them as if their files had gone: nobody shall bring them back while everything is removed."""
        if self._static is not None:
            self._static.release()

    def _admit(self, document: Document) -> PodWorker | None:
        try:
            worker = PodWorker(
                self.context,
                document,
                puller=self._puller,
                request_sync=self._submit,
                on_end=self._on_worker_end,
            )
        except ValueError as error:  # msgspec.ValidationError: one broken record never stops the others.
            _log.error("cannot read pod %s: %s", document["metadata"].get("name"), error)
            self._unreadable.add(PodUID(document["metadata"]["uid"]))
            return None
        self._pods[worker.uid] = worker
        self._limits.on_admitted(worker)
        self.pressure.on_admitted(worker)
        self._admission.on_admitted(worker)
        self._submit(worker.uid)
        return worker

    def _submit(self, uid: str) -> None:
        if PodUID(uid) in self._pods:
            self._workers.submit(uid, None)

    def _on_worker_end(self, uid: str) -> None:
        self._pods.pop(PodUID(uid), None)
        self._mount_retries.forget(PodUID(uid))
        self._puller.forget(uid)
        self._admission.on_gone(PodUID(uid))
        self._tell_room()
        if self._static is not None:
            self._static.on_worker_end(PodUID(uid))

    def _tell_room(self) -> None:
        """A pod uses less than before; resizes that were deferred may fit."""
        for worker in self._pods.values():
            worker.on_room()

    def _on_container_event(self, event: ContainerEvent) -> None:
        worker = self._pods.get(event.pod_uid)
        if worker is not None:
            worker.on_container_event(event.type in _PROGRESS)

    def refresh_volumes(self, uid: PodUID) -> None:
        """Something that is shown in a pod's files has changed, or a token in them has to be replaced."""
        worker = self._pods.get(uid)
        if worker is not None:
            self._tasks.spawn(self._refresh_volumes(worker), name=f"refresh-volumes-{uid}")

    async def _refresh_volumes(self, worker: PodWorker) -> None:
        self._tell_failed_mounts(worker.uid, await self.context.volumes.refresh_pod(worker.pod))

    async def _refresh_object(self, kind: str, namespace: str, name: str) -> None:
        for uid, failures in (await self.context.volumes.refresh_object(kind, namespace, name)).items():
            self._tell_failed_mounts(uid, failures)

    def _tell_failed_mounts(self, uid: PodUID, failures: Sequence[str]) -> None:
        """What a pod goes on to show is not what its volumes say."""
        worker = self._pods.get(uid)
        if worker is None or not self._is_staying(worker) or worker.is_preparing:
            self._mount_retries.forget(uid)  # One whose volumes are being mounted tells by itself.
            return
        for text in self._mount_retries.on_tried(uid, failures):
            self.context.recorder.event(worker.document, "Warning", "FailedMount", text)

    def _is_staying(self, worker: PodWorker) -> bool:
        """A namespace's objects go before its pods."""
        is_over = is_terminal(worker.document.get("status") or {}) or worker.pod.metadata.deletion_timestamp
        return not is_over and not self._is_ending(worker.key.namespace)

    def _is_ending(self, namespace: str) -> bool:
        found = self.context.store.find(ObjectKey("namespaces", "", namespace))
        return found is None or "deletionTimestamp" in found["metadata"]

    def _on_object(self, kind: str, event: WatchEvent) -> None:
        meta = event.object["metadata"]
        namespace = meta.get("namespace", "")
        self._tasks.spawn(
            self._refresh_object(kind, namespace, meta["name"]),
            name=f"refresh-{kind}-{namespace}-{meta['name']}",
        )
        for worker in self._pods.values():
            if worker.key.namespace == namespace:
                worker.on_dependency()

    async def _sync(self, uid: str, _: None) -> None:
        worker = self._pods.get(PodUID(uid))
        if worker is not None:
            await worker.sync_pod()

    def _on_sync_failed(self, uid: str, _: None, error: Exception) -> None:
        unexpected = None if isinstance(error, PodhostError) else error
        _log.error("a pass over pod %s failed: %s", uid, error, exc_info=unexpected)
        # Facts may be broken for good; do not spin, and do not forget the pod either.
        self._arm(f"failed:{uid}", 10.0, lambda: self._submit(uid))

    # -- safety net -----------------------------------------------------------------------------------------

    def _arm(self, name: str, delay_s: float, action: Callable[[], object]) -> None:
        old = self._timers.pop(name, None)
        if old is not None:
            old.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, self._fire, name, action)

    def _fire(self, name: str, action: Callable[[], object]) -> None:
        del self._timers[name]
        action()

    def _relist(self) -> None:
        """Every few minutes: an event that was lost must not be lost for ever."""
        self._arm("relist", self.context.settings.relist_interval_s, self._relist)
        for uid in self._pods:
            self._workers.submit(uid, None)
        self._tasks.spawn(self._read_host(), name="read-host-facts")
        if self._static is not None:
            self._tasks.spawn(self._static.rescan(), name="rescan-static-pods")
        self._sweep()

    def _sweep(self) -> None:
        self._tasks.spawn(recover_orphans(self.context, self._is_live), name="recover-orphans")

    def _is_live(self, uid: PodUID) -> bool:
        """Whether what is on the machine of this pod is somebody's business."""
        return uid in self._pods or uid in self._unreadable

    async def _read_host(self) -> None:
        self.context.host = await asyncio.to_thread(read_host_facts, self.context.settings)
        register_node(self.context)

    def _check_logs(self) -> None:
        """Once a minute, while pods run."""
        self._arm("logs", self.context.settings.housekeeping_interval_s, self._check_logs)
        if self._pods:
            self._tasks.spawn(rotate_logs(self.context), name="rotate-logs")


def _shown_in_files(document: Document) -> tuple[object, object]:
    """What downwardAPI volumes show and a user may change."""
    metadata = document["metadata"]
    return metadata.get("labels"), metadata.get("annotations")
