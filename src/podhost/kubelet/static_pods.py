"""Static pods: one pod a file of a directory, run whether or not anybody asks the API for it.

::

    file appears ──▶ its pod runs, and a mirror of it is in the API
    file changes ──▶ that pod is terminated; the new one starts when it has gone
    file goes    ──▶ the pod is terminated, and its mirror goes
    broken file  ──▶ a warning with its line; what ran before goes on
    documents behind the first ──▶ a warning; they are ignored, as by a kubelet
    mirror goes  ──▶ it comes back; the containers do not notice
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from podhost.aiokit.tasks import Tasks
from podhost.api.apply import Writer, record_update
from podhost.api.kinds import POD
from podhost.api.objects import MIRROR_ANNOTATION, is_mirror_pod, read_pod_uid
from podhost.api.priority_classes import (
    PRIORITY_CLASS,
    assign_priority,
    build_system_classes,
    find_priority_class,
)
from podhost.api.time import format_micro_time, format_time
from podhost.cri.ids import PodUID
from podhost.errors import ConflictError, ExistsError, NotFoundError
from podhost.kubelet.node_context import Document, NodeContext
from podhost.kubelet.pod_worker import PodWorker
from podhost.kubelet.static_pod_files import MAX_BYTES, SEEN_ANNOTATION, StaticPodFile, read_static_pod
from podhost.linux import fs, inotify
from podhost.store.keys import ObjectKey
from podhost.store.watch import WatchEvent

_log = logging.getLogger(__name__)

_EVENTS = inotify.IN_CLOSE_WRITE | inotify.IN_MOVED_TO | inotify.IN_MOVED_FROM | inotify.IN_DELETE | inotify.IN_ONLYDIR
_DEFAULT_GRACE_S = 30
_WRITER = Writer("kubelet")

Admit = Callable[[Document], PodWorker | None]


class StaticPods:
    """Keeps workers and mirrors in step with the files.

    Args:
        context: Collaborators of the kubelet.
        directory: Made when absent.
        admit: Has the kubelet run a pod.
    """

    def __init__(self, context: NodeContext, directory: Path, admit: Admit) -> None:
        self._context = context
        self._directory = directory
        self._admit = admit
        self._texts: dict[Path, str] = {}
        self._wanted: dict[Path, Document] = {}
        self._workers: dict[ObjectKey, PodWorker] = {}
        self._inotify: inotify.Inotify | None = None
        self._tasks = Tasks()
        self._told: set[str] = set()
        self._unreadable: dict[Path, str] = {}
        self._released = False

    async def start(self) -> None:
        """Take up the pods of the files; from now on watch the directory.  Raises OSError."""
        await asyncio.to_thread(fs.ensure_directory, self._directory)
        self._inotify = inotify.Inotify()
        self._inotify.add_watch(self._directory, _EVENTS)
        await self.rescan()
        self._tasks.spawn(self._run(self._inotify), name="static-pods")

    async def stop(self) -> None:
        """Stop watching; pods go on.  Idempotent."""
        if self._inotify is not None:
            self._inotify.close()
        await self._tasks.cancel_all()

    def release(self) -> None:
        """End all static pods, until the next start."""
        self._released = True
        self._reconcile()

    async def _run(self, events: inotify.Inotify) -> None:
        async for _ in events:
            await self.rescan()

    async def rescan(self) -> None:
        """Read what is new.  A directory that cannot be read changes nothing."""
        try:
            texts, unreadable = await asyncio.to_thread(_read_all, self._directory)
        except OSError as error:
            _log.warning("cannot read the static pods' directory: %s", error)
            return
        self._tell_unreadable(unreadable)
        for path in [known for known in self._texts if known not in texts]:
            del self._texts[path]
            self._wanted.pop(path, None)
        node_name = self._context.settings.node_name
        for path, text in texts.items():
            if self._texts.get(path) != text:
                self._texts[path] = text
                self._take(path, await asyncio.to_thread(read_static_pod, text, str(path), node_name))
        self._reconcile()

    def _tell_unreadable(self, causes: dict[Path, str]) -> None:
        """Each once, as long as it stays so: any change in the directory has all of it read again."""
        for path, cause in causes.items():
            if self._unreadable.get(path) != cause:
                _log.warning("cannot read the static pod %s: %s", path, cause)
        self._unreadable = causes

    def _take(self, path: Path, found: StaticPodFile) -> None:
        for fault in found.faults:
            self._warn(fault)
        for warning in found.warnings:
            self._warn(warning, "IgnoredDocument")
        if found.pod is not None:
            # As a Go program writes it; the mirror shows when the pod was first seen.
            found.pod["metadata"]["annotations"][SEEN_ANNOTATION] = format_micro_time(self._context.clock.now_ns())
            self._wanted[path] = found.pod

    def _warn(self, message: str, reason: str = "InvalidStaticPod") -> None:
        _log.warning("static pod: %s", message)
        node = self._context.store.find(ObjectKey("nodes", "", self._context.settings.node_name))
        if node is not None:
            self._context.recorder.event(node, "Warning", reason, message)

    # -- pods and mirrors -----------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        wanted = {} if self._released else self._choose()
        for key, worker in self._workers.items():
            pod = wanted.get(key)
            if pod is None or pod["metadata"]["uid"] != worker.uid:
                self._terminate(worker)
        for key, pod in wanted.items():
            if key not in self._workers:
                self._begin(key, pod)
        self._reconcile_mirrors()

    def _choose(self) -> dict[ObjectKey, Document]:
        """One pod a name: of two files, the first in the order of their names."""
        chosen: dict[ObjectKey, Document] = {}
        for path in sorted(self._wanted):
            pod = self._wanted[path]
            key = ObjectKey("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            if key not in chosen:
                chosen[key] = pod
            elif (text := f"{path}:1:1: another file has a pod {key.namespace}/{key.name}") not in self._told:
                self._told.add(text)
                self._warn(text)
        return chosen

    def _begin(self, key: ObjectKey, pod: Document) -> None:
        mirror = self._context.store.find(key)
        document = copy.deepcopy(pod)
        document["metadata"]["creationTimestamp"] = format_time(self._context.clock.now_ns())
        if mirror is not None and read_pod_uid(mirror) == document["metadata"]["uid"]:
            document["status"] = copy.deepcopy(mirror.get("status") or {})
        worker = self._admit(document)
        if worker is not None:
            self._workers[key] = worker

    def _terminate(self, worker: PodWorker) -> None:
        document = worker.document
        if document["metadata"].get("deletionTimestamp"):
            return
        grace = document["spec"].get("terminationGracePeriodSeconds")
        ending = {
            "deletionTimestamp": format_time(self._context.clock.now_ns()),
            "deletionGracePeriodSeconds": _DEFAULT_GRACE_S if grace is None else grace,
        }
        worker.on_document({**document, "metadata": {**document["metadata"], **ending}})

    def on_worker_end(self, uid: PodUID) -> None:
        """A pod has gone from the machine."""
        for key, worker in list(self._workers.items()):
            if worker.uid == uid:
                del self._workers[key]
                self._reconcile()

    def on_mirror(self, event: WatchEvent) -> None:
        """Somebody has written or deleted a mirror; the kubelet itself, most of the time."""
        document = event.object
        key = ObjectKey("pods", document["metadata"]["namespace"], document["metadata"]["name"])
        worker = self._workers.get(key)
        is_its_own = worker is not None and read_pod_uid(document) == worker.uid
        if event.type != "DELETED" and worker is not None and is_its_own and not _is_deleted(document):
            worker.on_document({**worker.document, "status": document.get("status") or {}})
            return
        # Not now: the change is still being told to the others.
        asyncio.get_running_loop().call_soon(self._reconcile_mirrors)

    def _reconcile_mirrors(self) -> None:
        store = self._context.store
        for document in store.list("pods")[0]:
            if not is_mirror_pod(document):
                continue
            key = ObjectKey("pods", document["metadata"]["namespace"], document["metadata"]["name"])
            worker = self._workers.get(key)
            if worker is None or read_pod_uid(document) != worker.uid or _is_deleted(document):
                try:
                    store.delete(key, expected_uid=document["metadata"]["uid"])
                except (NotFoundError, ConflictError) as error:
                    _log.debug("mirror %s went away by itself: %s", key, error)
        for key, worker in self._workers.items():
            if store.find(key) is None and not worker.document["metadata"].get("deletionTimestamp"):
                self._create_mirror(key, worker)

    def _create_mirror(self, key: ObjectKey, worker: PodWorker) -> None:
        store = self._context.store
        if store.find(ObjectKey("namespaces", "", key.namespace)) is None and key.namespace != "default":
            return
        mirror = copy.deepcopy(worker.document)
        meta = mirror["metadata"]
        meta |= {"uid": str(uuid4()), "creationTimestamp": format_time(self._context.clock.now_ns())}
        meta["annotations"][MIRROR_ANNOTATION] = worker.uid
        node = store.find(ObjectKey("nodes", "", self._context.settings.node_name))
        if node is not None:
            owner = {"apiVersion": "v1", "kind": "Node", "controller": True}
            meta["ownerReferences"] = [{**owner, "name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}]
        # At the very first start those of the system are not there yet.
        classes = [*store.list(PRIORITY_CLASS.resource_key)[0], *build_system_classes()]
        spec = mirror["spec"]
        assign_priority(spec, find_priority_class(spec.get("priorityClassName") or "", classes))
        try:
            record_update(None, mirror, _WRITER, POD.schema, meta["creationTimestamp"])
            store.create(key, mirror)
        except ExistsError as error:
            _log.debug("cannot create the mirror %s: %s", key, error)


def _is_deleted(document: Document) -> bool:
    return bool(document["metadata"].get("deletionTimestamp"))


def _read_all(directory: Path) -> tuple[dict[Path, str], dict[Path, str]]:
    """Files whose names do not begin with a dot: what they hold, and why others cannot be read.

    Blocking; raises OSError for the directory.
    """
    found, unreadable = {}, {}
    for name in sorted(os.listdir(directory)):
        path = directory / name
        if name.startswith("."):
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(fd, errors="replace") as file:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    found[path] = file.read(MAX_BYTES + 1)
        except OSError as error:
            unreadable[path] = error.strerror or str(error)
    return found, unreadable
