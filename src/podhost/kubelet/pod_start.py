"""The steps that bring a pod up.  Each leaves a record or nothing, so that the next pass can go on from it.

Numbered failpoints mark the steps; what is undone by whom if the daemon dies after one::

    pod.start.10-volumes   mounted volumes        next pass mounts again (idempotent); sweep of orphans
    pod.start.11-sandbox   a sandbox              found by the next pass; sweep of orphans
    pod.start.20-image     an image               kept
    pod.start.30-files     log and message files  made again; removed with the pod
    pod.start.40-create    a CREATED container    replaced by the next pass under the same attempt
    pod.start.50-start     a RUNNING container    adopted

The step after these is the postStart hook's (:mod:`podhost.kubelet.hooks`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from podhost.aiokit import failpoint
from podhost.api import models
from podhost.cri.ids import ContainerId, PodUID, SandboxId
from podhost.cri.images import Image
from podhost.cri.runtime import ContainerStartError, PodSandboxStatus
from podhost.cri.volumes import MountedVolume, VolumeError
from podhost.errors import PodhostError, describe_cause
from podhost.kubelet.container_config import ContainerPaths, build_container_config, compute_paths
from podhost.kubelet.env_file import EnvFiles, read_env_files
from podhost.kubelet.environment import ConfigError, EnvironmentContext, build_environment
from podhost.kubelet.expansion import expand
from podhost.kubelet.image_puller import ImagePuller, RetryPlan, StartFailure
from podhost.kubelet.node_context import Document, NodeContext, find_container, format_field_path
from podhost.kubelet.pod_actions import ContainerStart
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.sandbox_config import build_sandbox_config
from podhost.linux import fs

_STEP_VOLUMES = failpoint.register("pod.start.10-volumes")
_STEP_SANDBOX = failpoint.register("pod.start.11-sandbox")
_STEP_FILES = failpoint.register("pod.start.30-files")
_STEP_CREATE = failpoint.register("pod.start.40-create")
_STEP_START = failpoint.register("pod.start.50-start")
_CREATE_RETRY_S = 10.0


class PrepareError(PodhostError):
    """Volumes or sandbox of a pod cannot be had (yet)."""


@dataclass(frozen=True, slots=True)
class PreparedPod:
    """A sandbox and volumes that containers can be put into."""

    sandbox_id: SandboxId
    ips: tuple[str, ...]
    mounted: Mapping[str, MountedVolume]


class PodStarter:
    """Effects of starting; decides nothing."""

    def __init__(self, context: NodeContext, puller: ImagePuller) -> None:
        self._context = context
        self._puller = puller

    async def prepare_pod(
        self, document: Document, pod: models.Pod, observed: PodRuntimeStatus, *, create: bool, attempt: int
    ) -> PreparedPod:
        """Volumes and sandbox, at the same time.

        Raises:
            PrepareError: The event has been recorded.
        """
        volumes, sandbox = await asyncio.gather(
            self._mount(document, pod),
            self._ensure_sandbox(document, pod, observed, create=create, attempt=attempt),
            return_exceptions=True,
        )
        if isinstance(sandbox, BaseException):
            raise sandbox
        if isinstance(volumes, BaseException):
            raise volumes
        ips = self._context.settings.host_ips[:1] if sandbox.host_network else sandbox.ips
        return PreparedPod(sandbox.id, ips, volumes)

    async def _mount(self, document: Document, pod: models.Pod) -> dict[str, MountedVolume]:
        try:
            for volume in pod.spec.volumes:
                if volume.image is not None:
                    await self._puller.ensure_image(document, pod, _as_image_user(volume))
            mounted = await self._context.volumes.mount_volumes(pod)
        except StartFailure as failure:
            # The events have been recorded.
            raise PrepareError(f"cannot get an image of the volumes of {_name(pod)}: {failure}") from failure
        except (PodhostError, OSError) as error:
            cause = describe_cause(error)
            for text in error.causes if isinstance(error, VolumeError) else (cause,):
                self._context.recorder.event(document, "Warning", "FailedMount", text)
            raise PrepareError(f"cannot mount the volumes of {_name(pod)}: {cause}") from error
        failpoint.hit(_STEP_VOLUMES)
        return mounted

    async def _ensure_sandbox(
        self, document: Document, pod: models.Pod, observed: PodRuntimeStatus, *, create: bool, attempt: int
    ) -> PodSandboxStatus:
        ready = observed.ready_sandbox
        if not create and ready is not None:
            return ready
        try:
            config = build_sandbox_config(
                pod,
                self._context.settings,
                attempt=attempt,
                host_dns=self._context.host.dns,
                runtime_handler=self._context.find_runtime_handler(pod.spec.runtime_class_name or ""),
                first_host_id=self._context.claim_ids(pod),
            )
            await asyncio.to_thread(fs.ensure_directory, config.log_directory)
            sandbox = await self._context.runtime.run_pod_sandbox(config)
        except (PodhostError, OSError) as error:
            cause = describe_cause(error)
            text = f"Failed to create pod sandbox: {cause}"
            self._context.recorder.event(document, "Warning", "FailedCreatePodSandBox", text)
            raise PrepareError(f"cannot create the sandbox of {_name(pod)}: {cause}") from error
        failpoint.hit(_STEP_SANDBOX)
        return sandbox

    async def start_container(
        self,
        document: Document,
        pod: models.Pod,
        start: ContainerStart,
        prepared: asyncio.Future[PreparedPod],
    ) -> ContainerId:
        """Image, files, configuration, create, start.

        Raises:
            StartFailure: The events have been recorded.
            PrepareError: The pod's sandbox or volumes failed; reported by who prepared them.
        """
        found = find_container(pod, start.name)
        assert found is not None
        container = _as_container(found[0])
        paths = compute_paths(pod, start, self._context.settings)
        await self._make_files(document, pod, container, paths)
        if self._context.images.image_status(container.image or "") is not None:
            # Only a pull is worth doing beside volumes and sandbox.  What is said of an image that is here comes
            # after them, as from a kubelet: a volume that fails again and again says it once.
            await asyncio.shield(prepared)
        image = await self._puller.ensure_image(document, pod, container)
        failpoint.hit(_STEP_FILES)
        ready = await asyncio.shield(prepared)
        container_id = await self._create(document, pod, container, start, image, ready)
        failpoint.hit(_STEP_CREATE)
        await self._start(document, pod, start, container_id)
        failpoint.hit(_STEP_START)
        return container_id

    async def _make_files(
        self, document: Document, pod: models.Pod, container: models.Container, paths: ContainerPaths
    ) -> None:
        try:
            await asyncio.to_thread(_make_files, paths)
        except OSError as error:
            raise self._on_create_failed(document, pod, container, error) from error

    def _on_create_failed(
        self, document: Document, pod: models.Pod, container: models.Container, error: Exception
    ) -> StartFailure:
        cause, where = describe_cause(error), format_field_path(pod, container.name)
        self._context.recorder.event(document, "Warning", "Failed", f"Error: {cause}", field_path=where)
        return StartFailure("CreateContainerError", cause, RetryPlan(_CREATE_RETRY_S))

    async def _create(
        self,
        document: Document,
        pod: models.Pod,
        container: models.Container,
        start: ContainerStart,
        image: Image,
        ready: PreparedPod,
    ) -> ContainerId:
        context = self._context
        where = format_field_path(pod, container.name)
        try:
            environment = await self._read_environment(pod, container, ready)
            env = build_environment(pod, container, environment)
            container = expand_sub_paths(container, dict(env))
            config = build_container_config(
                pod,
                container,
                start,
                settings=context.settings,
                image=image,
                env=env,
                mounts=await context.volumes.container_mounts(pod, container, ready.mounted),
                memory_capacity_bytes=context.host.memory_bytes,
                pid_target=self._find_pid_target(pod, start),
            )
        except (ConfigError, VolumeError) as error:
            context.recorder.event(document, "Warning", "Failed", f"Error: {error}", field_path=where)
            raise StartFailure("CreateContainerConfigError", str(error)) from error
        try:
            if start.replaces is not None:
                await context.runtime.remove_container(start.replaces)
                # The removal has taken the files of that attempt with it.
                await asyncio.to_thread(_make_files, compute_paths(pod, start, context.settings))
            container_id = await context.runtime.create_container(ready.sandbox_id, config)
        except (PodhostError, OSError) as error:
            raise self._on_create_failed(document, pod, container, error) from error
        context.recorder.event(document, "Normal", "Created", "Container created", field_path=where)
        return container_id

    async def _start(
        self, document: Document, pod: models.Pod, start: ContainerStart, container_id: ContainerId
    ) -> None:
        where = format_field_path(pod, start.name)
        event = self._context.recorder.event
        try:
            await self._context.runtime.start_container(container_id)
        except (PodhostError, OSError) as error:
            cause = describe_cause(error)
            event(document, "Warning", "Failed", f"Error: {cause}", field_path=where)
            # The container is EXITED with that reason: restart policy and back-off rule from here on.
            retry = RetryPlan(0.0 if isinstance(error, ContainerStartError) else _CREATE_RETRY_S)
            raise StartFailure("RunContainerError", cause, retry) from error
        event(document, "Normal", "Started", "Container started", field_path=where)

    def _find_pid_target(self, pod: models.Pod, start: ContainerStart) -> ContainerId | None:
        """The container that an ephemeral one looks at (``kubectl debug --target``).  Raises ConfigError."""
        found = find_container(pod, start.name)
        name = found[0].target_container_name if found and isinstance(found[0], models.EphemeralContainer) else None
        if not name:
            return None
        candidates = [c for c in self._context.runtime.list_containers(PodUID(pod.metadata.uid)) if c.name == name]
        if not candidates:
            raise ConfigError(f"unable to find target container {name}")
        return max(candidates, key=lambda c: (c.attempt, c.created_at_ns)).id

    async def _read_environment(
        self, pod: models.Pod, container: models.Container, ready: PreparedPod
    ) -> EnvironmentContext:
        """Facts that its variables can name.  Raises ConfigError for a file that cannot be read."""
        context = self._context
        files: EnvFiles = {}
        if any(v.value_from is not None and v.value_from.file_key_ref is not None for v in container.env):
            try:
                files = await asyncio.to_thread(read_env_files, container, ready.mounted)
            except OSError as error:
                raise ConfigError(f"couldn't parse env file: {describe_cause(error)}") from error
        return EnvironmentContext(
            read=context.read_object,
            pod_ips=ready.ips,
            host_ips=context.settings.host_ips,
            node_name=context.settings.node_name,
            services=context.list_services(pod.metadata.namespace),
            env_files=files,
            cpu_millis=context.host.cpu_millis,
            memory_bytes=context.host.memory_bytes,
        )


def expand_sub_paths(container: models.Container, env: Mapping[str, str]) -> models.Container:
    """Put the values of variables into ``subPathExpr``.  Raises ConfigError for an unknown variable."""
    mounts = tuple(
        msgspec.structs.replace(m, sub_path=_expand_strictly(m.sub_path_expr, env), sub_path_expr=None)
        if m.sub_path_expr
        else m
        for m in container.volume_mounts
    )
    return msgspec.structs.replace(container, volume_mounts=mounts)


def _expand_strictly(text: str, env: Mapping[str, str]) -> str:
    result = expand(text, env)
    if "$(" in result:
        raise ConfigError(f"missing value for {result[result.index('$(') :]} in subPathExpr")
    return result


def _as_container(container: models.Container | models.EphemeralContainer) -> models.Container:
    if isinstance(container, models.Container):
        return container
    fields = msgspec.to_builtins(container)
    fields.pop("targetContainerName", None)
    return msgspec.convert(fields, models.Container)


def _as_image_user(volume: models.Volume) -> models.Container:
    """Who wants the image of a volume, as if it were a container."""
    source = volume.image
    assert source is not None
    return models.Container(name=volume.name, image=source.reference, image_pull_policy=source.pull_policy)


def _make_files(paths: ContainerPaths) -> None:
    """Directories of log and termination message, and the empty message file that is mounted."""
    fs.ensure_directory(paths.log.parent)
    fs.ensure_directory(paths.termination.parent, 0o755)
    # Any user of the container may write its message (as the kubelet: 0666).
    fd = os.open(paths.termination, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.fchmod(fd, 0o666)
    finally:
        os.close(fd)


def _name(pod: models.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
