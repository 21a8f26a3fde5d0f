"""Binds claims to volumes, makes volumes for those of our storage classes, reclaims them; decisions are in
:mod:`podhost.controllers.volume_binding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from podhost.aiokit.clock import Clock
from podhost.aiokit.tasks import Tasks
from podhost.api.objects import is_terminal
from podhost.api.storage_kinds import DEFAULT_CLASS_ANNOTATION, PV_FINALIZER, PVC_FINALIZER, find_default_class
from podhost.api.time import format_time
from podhost.controllers import volume_binding
from podhost.controllers.deletion import request_deletion
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import build_owner_reference, ensure_created, update_managed
from podhost.controllers.volume_binding import PROVISIONER, Bind, Provision, Wait
from podhost.store.events import EventRecorder
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

CLAIMS, VOLUMES, CLASSES = "persistentvolumeclaims", "persistentvolumes", "storageclasses.storage.k8s.io"
DEFAULT_CLASS = "standard"
_Key = tuple[str, str, str]
"""Resource, namespace, name."""


class Directories(Protocol):
    """Of :class:`podhost.volumes.local_volumes.LocalVolumes`."""

    def ensure(self, name: str) -> Any: ...

    def remove(self, path: str) -> None: ...


def build_default_class() -> dict[str, Any]:
    """The class of claims that name none."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": DEFAULT_CLASS,
            "annotations": {DEFAULT_CLASS_ANNOTATION: "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


class PersistentVolumeController:
    """``recorder`` is of component ``persistentvolume-controller``."""

    def __init__(
        self, store: Store, clock: Clock, recorder: EventRecorder, directories: Directories, node_name: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._recorder = recorder
        self._directories = directories
        self._node_name = node_name
        self._loop: ReconcileLoop[_Key] = ReconcileLoop(store, "persistent volumes", self.reconcile)
        self._tasks = Tasks()
        self._removing: set[str] = set()

    async def start(self) -> None:
        if not self._store.list(CLASSES)[0]:
            ensure_created(self._store, self._clock, ObjectKey(CLASSES, "", DEFAULT_CLASS), build_default_class())
        self._loop.watch(CLAIMS, self._on_claim)
        self._loop.watch(VOLUMES, self._on_volume)
        self._loop.watch(CLASSES, self._on_class)
        self._loop.watch("pods", self._on_pod)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()
        await self._tasks.cancel_all()

    # -- events ------------------------------------------------------------------------------------------------

    def _on_claim(self, event: WatchEvent) -> None:
        meta = event.object["metadata"]
        self._loop.mark((CLAIMS, meta["namespace"], meta["name"]))
        if name := event.object["spec"].get("volumeName"):
            self._loop.mark((VOLUMES, "", name))

    def _on_volume(self, event: WatchEvent) -> None:
        name, ref = event.object["metadata"]["name"], event.object["spec"].get("claimRef")
        self._loop.mark((VOLUMES, "", name))
        if ref:
            self._loop.mark((CLAIMS, ref.get("namespace", ""), ref.get("name", "")))
        self._mark_claims(lambda claim: claim["spec"].get("volumeName") == name or (not ref and _is_pending(claim)))

    def _on_class(self, event: WatchEvent) -> None:
        del event
        self._mark_claims(_is_pending)

    def _mark_claims(self, is_concerned: Callable[[dict[str, Any]], bool]) -> None:
        for claim in filter(is_concerned, self._store.list(CLAIMS)[0]):
            self._loop.mark((CLAIMS, claim["metadata"]["namespace"], claim["metadata"]["name"]))

    def _on_pod(self, event: WatchEvent) -> None:
        """A claim may be let go, or be made for an ephemeral volume."""
        pod = event.object
        for _, name in volume_binding.claims_of_pod(pod):
            self._loop.mark((CLAIMS, pod["metadata"]["namespace"], name))
        if event.type != "DELETED" and any(v.get("ephemeral") for v in pod["spec"].get("volumes") or ()):
            self._loop.mark(("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]))

    # -- reconcile -------------------------------------------------------------------------------------------

    def reconcile(self, key: _Key) -> None:
        """Look at one claim, volume or pod with ephemeral volumes."""
        found = self._store.find(ObjectKey(*key))
        if found is None:
            return
        match key[0]:
            case "persistentvolumeclaims":
                self._sync_claim(found)
            case "persistentvolumes":
                self._sync_volume(found)
            case _:
                self._make_ephemeral_claims(found)

    def _sync_claim(self, claim: dict[str, Any]) -> None:
        if "deletionTimestamp" in claim["metadata"]:
            self._release_claim(claim)
            return
        self._protect(claim, CLAIMS, PVC_FINALIZER)
        if (claim.get("status") or {}).get("phase") in ("Bound", "Lost"):
            self._check_bound(claim)
            return
        name = claim["spec"].get("storageClassName") or ""
        storage_class = self._store.find(ObjectKey(CLASSES, "", name)) if name else None
        match volume_binding.decide_claim(claim, self._store.list(VOLUMES)[0], storage_class):
            case Bind(volume):
                self._bind(claim, dict(volume))
            case Provision(of):
                claim = self._assign(claim, of["provisioner"])
                self._bind(claim, self._provision(claim, dict(of)))
            case Wait(kind, reason, message):
                if reason == volume_binding.EXTERNAL_PROVISIONING and storage_class is not None:
                    claim = self._assign(claim, storage_class["provisioner"])
                self._recorder.event(claim, kind, reason, message)

    def _assign(self, claim: dict[str, Any], provisioner: str) -> dict[str, Any]:
        """Say on the claim who is to make its volume."""
        wanted = volume_binding.with_provisioner(claim, provisioner)
        return claim if wanted == claim else self._update(_key_of(claim), wanted)

    def _protect(self, obj: dict[str, Any], resource: str, finalizer: str) -> None:
        """Whoever removes the finalizer of what is not being deleted gets it back; nobody manages it."""
        meta = obj["metadata"]
        if finalizer in (meta.get("finalizers") or ()):
            return
        meta = {**meta, "finalizers": [*(meta.get("finalizers") or ()), finalizer]}
        key = ObjectKey(resource, meta.get("namespace", ""), meta["name"])
        obj["metadata"] = self._store.update(key, {**obj, "metadata": meta})["metadata"]

    def _bind(self, claim: dict[str, Any], volume: dict[str, Any]) -> None:
        """The volume first: a claim is never bound to one that may still be another's."""
        key = ObjectKey(VOLUMES, "", volume["metadata"]["name"])
        bound = self._update(key, volume_binding.with_claim(volume, claim))
        self._update(_key_of(claim), volume_binding.with_volume(claim, bound))

    def _provision(self, claim: dict[str, Any], storage_class: dict[str, Any]) -> dict[str, Any]:
        meta = claim["metadata"]
        text = volume_binding.format_external_provisioning(PROVISIONER)
        self._recorder.event(claim, "Normal", volume_binding.EXTERNAL_PROVISIONING, text)
        text = f'External provisioner is provisioning volume for claim "{meta["namespace"]}/{meta["name"]}"'
        self._recorder.event(claim, "Normal", "Provisioning", text)
        name = volume_binding.volume_name(claim)
        path = self._directories.ensure(name)
        volume = volume_binding.build_volume(claim, storage_class, str(path), self._node_name)
        made = ensure_created(self._store, self._clock, ObjectKey(VOLUMES, "", name), volume)
        self._recorder.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        return made

    def _check_bound(self, claim: dict[str, Any]) -> None:
        """Its volume may have gone, and with it the data; be another's; be there again; or be too small now."""
        volume = self._store.find(ObjectKey(VOLUMES, "", claim["spec"]["volumeName"]))
        if volume is None:
            text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            self._lose(claim, "ClaimLost", text)
            return
        ref = volume["spec"].get("claimRef")
        if ref is not None and ref.get("uid") != claim["metadata"]["uid"]:
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
            self._lose(claim, "ClaimMisbound", text)
        elif ref is None or claim["status"]["phase"] == "Lost":
            self._bind(claim, volume)
        elif size := volume_binding.compute_growth(claim, volume):
            self._grow(claim, volume, size)

    def _lose(self, claim: dict[str, Any], reason: str, text: str) -> None:
        if claim["status"]["phase"] != "Lost":
            self._recorder.event(claim, "Warning", reason, text)
            self._update(_key_of(claim), {**claim, "status": {"phase": "Lost"}})

    def _grow(self, claim: dict[str, Any], volume: dict[str, Any], size: str) -> None:
        """The size of a directory is a word: it grows at once."""
        name = volume["metadata"]["name"]
        text = "waiting for an external controller to expand this PVC"
        self._recorder.event(claim, "Normal", "ExternalExpanding", text)
        if _provisioner_of(volume) != PROVISIONER:
            return
        self._recorder.event(claim, "Normal", "Resizing", f"External resizer is resizing volume {name}")
        self._update(_key_of(claim), volume_binding.with_grown_volume(claim, size))
        self._update(ObjectKey(VOLUMES, "", name), volume_binding.with_capacity(volume, size))
        self._recorder.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")

    def _release_claim(self, claim: dict[str, Any]) -> None:
        """Let a deleted claim go once no pod uses it any more."""
        if PVC_FINALIZER not in (claim["metadata"].get("finalizers") or ()) or self._is_used(claim):
            return
        self._drop_finalizer(_key_of(claim), PVC_FINALIZER)

    def _is_used(self, claim: dict[str, Any]) -> bool:
        name = claim["metadata"]["name"]
        return any(
            not is_terminal(pod) and any(used == name for _, used in volume_binding.claims_of_pod(pod))
            for pod in self._store.list("pods", claim["metadata"]["namespace"])[0]
        )

    def _sync_volume(self, volume: dict[str, Any]) -> None:
        meta, ref = volume["metadata"], volume["spec"].get("claimRef")
        claim = None
        if ref:
            claim = self._store.find(ObjectKey(CLAIMS, ref.get("namespace", ""), ref.get("name", "")))
            if claim is not None and ref.get("uid") and claim["metadata"]["uid"] != ref["uid"]:
                claim = None
        bound = claim is not None and claim["spec"].get("volumeName") == meta["name"]
        is_released = bool(ref and ref.get("uid")) and claim is None
        if "deletionTimestamp" in meta:
            if bound or PV_FINALIZER not in (meta.get("finalizers") or ()):
                return
            if is_released and _has_data_to_delete(volume):
                self._reclaim(volume)
            else:
                self._drop_finalizer(ObjectKey(VOLUMES, "", meta["name"]), PV_FINALIZER)
            return
        self._protect(volume, VOLUMES, PV_FINALIZER)
        if is_released:
            self._reclaim(volume)
        elif not ref or not ref.get("uid"):
            self._set_phase(volume, "Available")
        elif bound:
            self._set_phase(volume, "Bound")

    def _reclaim(self, volume: dict[str, Any]) -> None:
        self._set_phase(volume, "Released")
        policy, name = volume["spec"].get("persistentVolumeReclaimPolicy"), volume["metadata"]["name"]
        if policy == "Recycle":
            self._fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        elif policy == "Delete" and _provisioner_of(volume) is None:
            text = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
            self._fail(volume, "VolumeFailedDelete", text)
        elif _has_data_to_delete(volume) and name not in self._removing:
            self._removing.add(name)
            self._tasks.spawn(self._delete_data(name, volume["spec"]["local"]["path"]), name=f"reclaim-{name}")

    async def _delete_data(self, name: str, path: str) -> None:
        key = ObjectKey(VOLUMES, "", name)
        try:
            await asyncio.to_thread(self._directories.remove, path)
        except (OSError, ValueError) as error:
            volume = self._store.find(key)
            if volume is not None:
                self._fail(volume, "VolumeFailedDelete", str(error))
        else:
            request_deletion(self._store, self._clock, key)
            if self._store.find(key) is not None:
                self._drop_finalizer(key, PV_FINALIZER)
        finally:
            self._removing.discard(name)

    def _fail(self, volume: dict[str, Any], reason: str, text: str) -> None:
        if (volume.get("status") or {}).get("phase") != "Failed":
            self._recorder.event(volume, "Warning", reason, text)
            self._set_phase(volume, "Failed", text)

    def _set_phase(self, volume: dict[str, Any], phase: str, message: str = "") -> None:
        status = volume.get("status") or {}
        if status.get("phase") == phase or (phase == "Released" and status.get("phase") == "Failed"):
            return
        changed = {**status, "phase": phase} | ({"message": message} if message else {})
        key = ObjectKey(VOLUMES, "", volume["metadata"]["name"])
        self._update(key, {**self._store.get(key), "status": changed})

    def _update(self, key: ObjectKey, changed: dict[str, Any]) -> dict[str, Any]:
        if key.resource == VOLUMES:
            changed = self._with_transition(self._store.get(key), changed)
        return update_managed(self._store, self._clock, key, changed)

    def _with_transition(self, before: dict[str, Any], volume: dict[str, Any]) -> dict[str, Any]:
        """A volume says since when it is in its phase."""
        status = volume.get("status") or {}
        if status.get("phase") == (before.get("status") or {}).get("phase"):
            return volume
        now = format_time(self._clock.now_ns())
        return {**volume, "status": {**status, "lastPhaseTransitionTime": now}}

    def _drop_finalizer(self, key: ObjectKey, name: str) -> None:
        found = self._store.get(key)
        kept = [each for each in found["metadata"].get("finalizers") or () if each != name]
        if not kept and "deletionTimestamp" in found["metadata"]:
            self._store.delete(key, expected_uid=found["metadata"]["uid"])
            return
        self._update(key, {**found, "metadata": {**found["metadata"], "finalizers": kept}})

    def _make_ephemeral_claims(self, pod: dict[str, Any]) -> None:
        """The claims of a pod's generic ephemeral volumes, which the pod owns."""
        meta = pod["metadata"]
        if "deletionTimestamp" in meta or is_terminal(pod):
            return
        for volume in pod["spec"].get("volumes") or ():
            if volume.get("ephemeral") is None:
                continue
            template = volume["ephemeral"]["volumeClaimTemplate"]
            lent = {k: v for k, v in (template.get("metadata") or {}).items() if k in ("labels", "annotations")}
            spec = {"volumeMode": "Filesystem", **template["spec"]}
            if spec.get("storageClassName") is None and (default := find_default_class(self._store.list(CLASSES)[0])):
                spec["storageClassName"] = default
            claim = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    **lent,
                    "name": f"{meta['name']}-{volume['name']}",
                    "namespace": meta["namespace"],
                    "finalizers": [PVC_FINALIZER],
                    "ownerReferences": [build_owner_reference(pod, "v1", "Pod")],
                },
                "spec": spec,
                "status": {"phase": "Pending"},
            }
            ensure_created(self._store, self._clock, _key_of(claim), claim)


def _is_pending(claim: dict[str, Any]) -> bool:
    return bool((claim.get("status") or {}).get("phase") == "Pending")


def _provisioner_of(volume: dict[str, Any]) -> str | None:
    name: str | None = (volume["metadata"].get("annotations") or {}).get(volume_binding.PROVISIONED_BY)
    return name


def _has_data_to_delete(volume: dict[str, Any]) -> bool:
    """Whether its directory goes before it does, whoever deletes it (``HonorPVReclaimPolicy``)."""
    return volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and _provisioner_of(volume) == PROVISIONER


def _key_of(claim: dict[str, Any]) -> ObjectKey:
    return ObjectKey(CLAIMS, claim["metadata"]["namespace"], claim["metadata"]["name"])
