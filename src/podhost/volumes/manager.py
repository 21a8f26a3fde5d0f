"""VolumeManager: :class:`podhost.cri.volumes.PodVolumes` on this host's kernel.

Plans are computed in the event loop, where the API objects are; they are applied in threads.  Nothing is
remembered of what is mounted: each step looks at the host, so that a restarted daemon finds what is there.
Mounts belong to the daemon's mount namespace, which outlives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from podhost.aiokit.completion import run_in_thread_to_end
from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.cri.runtime import Mount
from podhost.cri.stats import FileSystemStats
from podhost.cri.volumes import MountedVolume, ObjectReader, VolumeError
from podhost.errors import PodhostError, describe_cause
from podhost.linux import mount
from podhost.volumes import empty_dir, measure, pod_directory, sub_path
from podhost.volumes.image_volume import ImageSource
from podhost.volumes.plan import VolumePlan
from podhost.volumes.planner import ObjectRef, Planner, find_object_refs, is_made_of_objects
from podhost.volumes.projected import TokenIssuer
from podhost.volumes.settings import VolumeSettings

_PROPAGATION: Mapping[str, Literal["private", "rslave", "rshared"]] = {
    "None": "private",
    "HostToContainer": "rslave",
    "Bidirectional": "rshared",
}


@dataclass(slots=True)
class _PodState:
    """The latest pod that was mounted, for refreshes."""

    pod: models.Pod
    refs: set[ObjectRef]


class VolumeManager:
    """Mounts, updates and removes the volumes of all pods of one instance."""

    def __init__(
        self,
        settings: VolumeSettings,
        reader: ObjectReader,
        *,
        tokens: TokenIssuer | None = None,
        images: ImageSource | None = None,
    ) -> None:
        self._pods_dir = settings.pods_dir
        self._host_namespace = settings.host_namespace
        self._images = images
        self._planner = Planner(settings, reader, tokens)
        self._pods: dict[PodUID, _PodState] = {}
        self._locks: dict[PodUID, asyncio.Lock] = {}

    async def mount_volumes(self, pod: models.Pod) -> dict[str, MountedVolume]:
        """See :class:`podhost.cri.volumes.PodVolumes`.  All volumes are tried; the text has each failure."""
        uid = _uid_of(pod)
        if not pod.spec.volumes:
            return {}
        async with self._lock(uid):
            self._pods[uid] = _PodState(pod, find_object_refs(pod))
            plans, failures = self._read_plans(pod)
            await self._read_image_plans(pod, plans, failures)
            mounted, more = await run_in_thread_to_end(_apply_plans, self._pods_dir / uid, plans, self._host_namespace)
            failures.update(more)
        if failures:
            # In the order of the pod's volumes, whichever step failed.
            raise VolumeError(*(failures[one.name] for one in pod.spec.volumes if one.name in failures))
        return mounted

    async def container_mounts(
        self, pod: models.Pod, container: models.Container, mounted: Mapping[str, MountedVolume]
    ) -> tuple[Mount, ...]:
        """See :class:`podhost.cri.volumes.PodVolumes`.

        ``subPathExpr`` has to be expanded into ``subPath`` by the caller, who knows the environment.
        """
        mounts: list[Mount] = []
        pending: list[tuple[int, MountedVolume, models.VolumeMount]] = []
        for index, wanted in enumerate(container.volume_mounts):
            volume = mounted.get(wanted.name)
            if volume is None:
                raise VolumeError(f'cannot find volume "{wanted.name}" to mount into container "{container.name}"')
            if wanted.sub_path_expr:
                raise VolumeError(f"cannot mount {wanted.mount_path}: subPathExpr has not been expanded")
            path = volume.host_path
            if wanted.sub_path:
                sub_path.check_sub_path(wanted.sub_path)
                pending.append((index, volume, wanted))
            mounts.append(_build_mount(wanted, volume, path))
        if pending:
            uid = _uid_of(pod)
            async with self._lock(uid):
                top = self._pods_dir / uid / pod_directory.SUB_PATHS
                places = await run_in_thread_to_end(_mount_sub_paths, top, container.name, pending)
            for index, place in places.items():
                mounts[index] = replace(mounts[index], host_path=place)
        return tuple(mounts)

    async def unmount_volumes(self, uid: PodUID) -> None:
        """See :class:`podhost.cri.volumes.PodVolumes`.

        Raises:
            VolumeError: Something stays; to be tried again.
        """
        async with self._lock(uid):
            self._pods.pop(uid, None)
            try:
                await run_in_thread_to_end(pod_directory.remove_volumes, self._pods_dir / uid)
            except OSError as error:
                raise VolumeError(f"cannot remove the volumes of pod {uid}: {describe_cause(error)}") from error
            if self._images is not None:
                await self._images.release(uid)
        self._locks.pop(uid, None)

    async def measure_volumes(
        self, pod: models.Pod, names: Collection[str] | None = None
    ) -> dict[str, FileSystemStats]:
        """See :class:`podhost.cri.volumes.PodVolumes`."""
        volumes_dir = self._pods_dir / _uid_of(pod) / pod_directory.VOLUMES
        wanted = {volume.name for volume in pod.spec.volumes if names is None or volume.name in names}
        if not wanted:
            return {}
        claims = self._planner.find_claim_paths(pod, wanted)
        return await asyncio.to_thread(measure.measure_volumes, volumes_dir, wanted, claims)

    async def refresh_object(self, kind: str, namespace: str, name: str) -> dict[PodUID, list[str]]:
        """See :class:`podhost.cri.volumes.PodVolumes`.

        A pod whose volume cannot be updated (an item's key is gone, the object was deleted) keeps the old
        files, as under a kubelet.
        """
        ref = (kind, namespace, name)
        uids = [uid for uid, state in self._pods.items() if ref in state.refs]
        return {uid: await self._refresh_pod(uid) for uid in uids}

    async def refresh_pod(self, pod: models.Pod) -> list[str]:
        """See :class:`podhost.cri.volumes.PodVolumes`."""
        uid = _uid_of(pod)
        if not any(map(is_made_of_objects, pod.spec.volumes)):
            return []
        async with self._lock(uid):
            if not await asyncio.to_thread(pod_directory.has_volumes, self._pods_dir / uid):
                return []
            self._pods[uid] = _PodState(pod, find_object_refs(pod))
        return await self._refresh_pod(uid)

    def list_pods(self) -> set[PodUID]:
        """See :class:`podhost.cri.volumes.PodVolumes`."""
        try:
            names = [path.name for path in self._pods_dir.iterdir()]
        except FileNotFoundError:
            return set()
        return {PodUID(name) for name in names if pod_directory.has_volumes(self._pods_dir / name)}

    async def _refresh_pod(self, uid: PodUID) -> list[str]:
        async with self._lock(uid):
            state = self._pods.get(uid)
            if state is None:
                return []
            plans, failures = self._read_plans(state.pod)
            _mounted, more = await run_in_thread_to_end(_apply_plans, self._pods_dir / uid, plans, self._host_namespace)
            failures.update(more)
        return list(failures.values())

    def _read_plans(self, pod: models.Pod) -> tuple[list[VolumePlan], dict[str, str]]:
        plans, failures = [], {}
        for index, volume in enumerate(pod.spec.volumes):
            if volume.image is not None and self._images is not None:
                continue
            try:
                plans.append(self._planner.read_plan(pod, index))
            except VolumeError as error:
                failures[volume.name] = _format_failure(volume.name, error)
        return plans, failures

    async def _read_image_plans(self, pod: models.Pod, plans: list[VolumePlan], failures: dict[str, str]) -> None:
        for volume in pod.spec.volumes if self._images is not None else ():
            if volume.image is None:
                continue
            assert self._images is not None
            try:
                plan = await self._images.prepare(_uid_of(pod), volume.name, volume.image)
                plans.append(replace(plan, propagates=empty_dir.propagates(pod, volume.name)))
            except (PodhostError, OSError) as error:
                failures[volume.name] = _format_failure(volume.name, error)

    def _lock(self, uid: PodUID) -> asyncio.Lock:
        return self._locks.setdefault(uid, asyncio.Lock())


def _uid_of(pod: models.Pod) -> PodUID:
    uid = pod.metadata.uid
    if not uid or "/" in uid or uid in (".", ".."):
        raise VolumeError(f"cannot mount volumes of a pod with uid {uid!r}")
    return PodUID(uid)


def _format_failure(volume: str, error: Exception) -> str:
    return f'MountVolume.SetUp failed for volume "{volume}" : {describe_cause(error)}'


def _apply_plans(
    pod_dir: Path, plans: list[VolumePlan], host_namespace: Path | None
) -> tuple[dict[str, MountedVolume], dict[str, str]]:
    mounted, failures = {}, {}
    for plan in plans:
        try:
            mounted[plan.name] = pod_directory.apply_plan(pod_dir, plan, host_namespace)
        except (VolumeError, OSError) as error:
            failures[plan.name] = _format_failure(plan.name, error)
    return mounted, failures


def _mount_sub_paths(
    top: Path, container: str, pending: list[tuple[int, MountedVolume, models.VolumeMount]]
) -> dict[int, Path]:
    """Where each is held, by the index of its volumeMount."""
    places = {}
    for index, volume, wanted in pending:
        target = top / wanted.name / container / str(index)
        try:
            if volume.origin is not None and volume.origin.is_shared:
                top.mkdir(mode=0o750, parents=True, exist_ok=True)
                mount.ensure_private_mount(top)
            places[index] = sub_path.mount_sub_path(
                volume.host_path, wanted.sub_path or "", target, origin=volume.origin
            )
        except (VolumeError, OSError) as error:
            raise VolumeError(
                f'failed to prepare subPath for volumeMount "{wanted.name}" of container "{container}": {error}'
            ) from error
    return places


def _build_mount(wanted: models.VolumeMount, volume: MountedVolume, path: Path) -> Mount:
    return Mount(
        container_path=wanted.mount_path,
        host_path=path,
        read_only=bool(wanted.read_only) or volume.read_only,
        no_exec=volume.no_exec,
        options=wanted.bind_mount_options,
        relabel=volume.relabel,
        recursive_read_only=wanted.recursive_read_only in ("Enabled", "IfPossible"),
        propagation=_PROPAGATION[wanted.mount_propagation or "None"],
        origin=volume.origin,
    )
