"""From a pod's volume to its plan, and which objects a pod's volumes show."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from podhost.api import models
from podhost.cri.volumes import ObjectReader, VolumeError
from podhost.volumes import claim, downward_api, empty_dir, host_path, object_files, projected
from podhost.volumes.plan import ClaimPlan, FilesPlan, Payload, VolumePlan
from podhost.volumes.settings import VolumeSettings

ObjectRef = tuple[str, str, str]
"""Kind (``ConfigMap`` or ``Secret``), namespace, name."""


class Planner:
    """Reads what volumes refer to and computes their plans.  Quick; called in the event loop."""

    def __init__(
        self, settings: VolumeSettings, reader: ObjectReader, tokens: projected.TokenIssuer | None = None
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._tokens = tokens

    def read_plan(self, pod: models.Pod, index: int) -> VolumePlan:
        """Plan of ``spec.volumes[index]``.

        Raises:
            VolumeError: What it refers to is missing, or its kind is not offered (the text names the field).
        """
        plan = self._read_plan(pod, index)
        return replace(plan, propagates=empty_dir.propagates(pod, plan.name))

    def _read_plan(self, pod: models.Pod, index: int) -> VolumePlan:
        volume = pod.spec.volumes[index]
        if volume.host_path is not None:
            return host_path.compute_plan(volume.name, volume.host_path)
        if volume.persistent_volume_claim is not None or volume.ephemeral is not None:
            return claim.read_plan(self._reader, pod, volume)
        files = self._read_files(pod, volume)
        if files is not None:
            return files
        source = volume.empty_dir
        if source is None:
            if unoffered := find_source_field(volume):
                raise VolumeError(f"spec.volumes[{index}].{unoffered} is not supported by podhost")
            source = models.EmptyDirVolumeSource()
        return empty_dir.compute_plan(pod, volume.name, source, host_memory_bytes=self._settings.memory_bytes)

    def find_claim_paths(self, pod: models.Pod, names: Collection[str]) -> dict[str, Path]:
        """Directories of the volumes that claims of the pod are bound to."""
        found = {}
        for volume in pod.spec.volumes:
            if volume.name in names and (volume.persistent_volume_claim or volume.ephemeral):
                with contextlib.suppress(VolumeError):
                    plan = claim.read_plan(self._reader, pod, volume)
                    if isinstance(plan, ClaimPlan):
                        found[volume.name] = Path(plan.path)
        return found

    def _read_files(self, pod: models.Pod, volume: models.Volume) -> FilesPlan | None:
        namespace = pod.metadata.namespace or ""
        payload: Payload
        if (config_map := volume.config_map) is not None:
            plugin, in_memory = object_files.CONFIG_MAP_PLUGIN, False
            payload = object_files.read_config_map_payload(
                self._reader,
                namespace,
                config_map,
                default_mode=config_map.default_mode,
                default_user=config_map.default_user,
            )
        elif (secret := volume.secret) is not None:
            plugin, in_memory = object_files.SECRET_PLUGIN, True
            payload = object_files.read_secret_payload(
                self._reader,
                namespace,
                secret.secret_name or "",
                secret,
                default_mode=secret.default_mode,
                default_user=secret.default_user,
            )
        elif (fields := volume.downward_api) is not None:
            plugin, in_memory = downward_api.DOWNWARD_API_PLUGIN, True
            payload = downward_api.compute_payload(
                pod,
                fields.items,
                self._settings,
                default_mode=fields.default_mode,
                default_user=fields.default_user,
            )
        elif (sources := volume.projected) is not None:
            plugin, in_memory = projected.PROJECTED_PLUGIN, True
            payload = projected.read_payload(self._reader, pod, sources, self._settings, self._tokens)
        else:
            return None
        security = pod.spec.security_context
        return FilesPlan(
            name=volume.name,
            plugin=plugin,
            in_memory=in_memory,
            payload=payload,
            fs_group=security.fs_group if security else None,
        )


def find_source_field(volume: models.Volume) -> str | None:
    """JSON name of the source that a volume has."""
    document = msgspec.to_builtins(volume)
    return next((field for field in document if field != "name"), None)


def is_made_of_objects(volume: models.Volume) -> bool:
    """Whether its files may have to be written again while the pod runs."""
    sources = (volume.config_map, volume.secret, volume.downward_api, volume.projected)
    return any(source is not None for source in sources)


def find_object_refs(pod: models.Pod) -> set[ObjectRef]:
    """ConfigMaps and Secrets that the pod's volumes show."""
    namespace = pod.metadata.namespace or ""
    return {(kind, namespace, name) for volume in pod.spec.volumes for kind, name in _iter_refs(volume)}


def _iter_refs(volume: models.Volume) -> Iterator[tuple[str, str]]:
    if volume.config_map is not None:
        yield "ConfigMap", volume.config_map.name or ""
    if volume.secret is not None:
        yield "Secret", volume.secret.secret_name or ""
    for source in volume.projected.sources if volume.projected else ():
        if source.config_map is not None:
            yield "ConfigMap", source.config_map.name or ""
        if source.secret is not None:
            yield "Secret", source.secret.name or ""
