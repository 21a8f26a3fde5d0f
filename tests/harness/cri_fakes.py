"""In-memory runtime, images and volumes that keep the contracts of ``podhost.cri``, for tests on virtual time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from podhost.aiokit.clock import Clock
from podhost.api import models
from podhost.api.image_refs import normalize
from podhost.api.qos import QosClass
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.images import AuthConfig, Image, ImageConfig, ImagePullError, ProgressCallback
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerStartError,
    ContainerState,
    ContainerStatus,
    ExecResult,
    ExecSession,
    LinuxResources,
    Mount,
    PodSandboxConfig,
    PodSandboxStatus,
    RuntimeVersion,
    SandboxState,
)
from podhost.cri.stats import ContainerStats, DiskUsage, FileSystemStats, MemoryUsage, PodSandboxStats
from podhost.cri.volumes import MountedVolume, VolumeError
from podhost.errors import ConflictError, NotFoundError, PodhostError


@dataclass(slots=True)
class Script:
    """What a container does once started: runs for ``run_s`` (``None``: until stopped), exits with ``code``."""

    run_s: float | None = None
    code: int = 0
    start_error: ContainerStartError | None = None
    ignores_term: bool = False
    term_code: int = 143
    """Exit code when it obeys."""
    message: str = ""
    """Written into its termination message file."""


class FakeRuntime:
    """RuntimeService.  ``scripts[name]`` lists what the attempts of a container do; the last one repeats.

    ``scripts["pod/name"]`` goes before.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sandboxes: dict[SandboxId, PodSandboxStatus] = {}
        self.sandbox_configs: dict[SandboxId, PodSandboxConfig] = {}
        self.containers: dict[ContainerId, ContainerStatus] = {}
        self.configs: dict[ContainerId, ContainerConfig] = {}
        self.scripts: defaultdict[str, list[Script]] = defaultdict(lambda: [Script()])
        self.calls: list[str] = []
        self.fail: dict[str, list[PodhostError]] = defaultdict(list)
        self.layers: dict[str, int] = {}
        """Bytes that a container has written, by name."""
        self.inodes: dict[str, int] = {}
        self.unlimited: set[str] = set()
        self.dying: set[str] = set()
        """Containers, by name, that the kernel is ending while their exit is not recorded."""
        self.qos_resources: dict[QosClass, LinuxResources] = {}
        self.stats: Callable[[], list[ContainerStats]] = list
        self.sandbox_delay_s = 0.0
        self._callbacks: list[Callable[[ContainerEvent], None]] = []
        self._timers: dict[ContainerId, asyncio.TimerHandle] = {}
        self._exited: defaultdict[ContainerId, asyncio.Event] = defaultdict(asyncio.Event)
        self._next = 0

    def _new_id(self, what: str) -> str:
        self._next += 1
        return f"{what}{self._next:04d}"

    def _call(self, text: str) -> None:
        self.calls.append(text)
        verb = text.partition(" ")[0]
        if self.fail[verb]:
            raise self.fail[verb].pop(0)

    def _script(self, status: ContainerStatus) -> Script:
        own = f"{status.pod_name}/{status.name}"
        scripts = self.scripts[own if own in self.scripts else status.name]
        return scripts[min(status.attempt, len(scripts) - 1)]

    def _emit(self, kind: ContainerEventType, status: ContainerStatus) -> None:
        for callback in tuple(self._callbacks):
            callback(ContainerEvent(type=kind, container_id=status.id, pod_uid=status.pod_uid))

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion(runtime_name="fake", runtime_version="0")

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> PodSandboxStatus:
        self._call(f"run_pod_sandbox {config.name}")
        await asyncio.sleep(self.sandbox_delay_s)
        sandbox_id = SandboxId(self._new_id("s"))
        status = PodSandboxStatus(
            id=sandbox_id, namespace=config.namespace, name=config.name, uid=config.uid,
            attempt=config.attempt, state=SandboxState.READY, created_at_ns=self._clock.now_ns(),
            ips=(f"10.0.0.{self._next}",), host_network=config.host_network, resources=config.resources,
        )  # fmt: skip
        self.sandboxes[sandbox_id] = status
        self.sandbox_configs[sandbox_id] = config
        return status

    async def stop_pod_sandbox(self, sandbox_id: SandboxId) -> None:
        self._call(f"stop_pod_sandbox {sandbox_id}")
        for container in list(self.containers.values()):
            if container.sandbox_id == sandbox_id:
                self.kill(container.id, 137)
        if sandbox_id in self.sandboxes:
            self.sandboxes[sandbox_id] = replace(self.sandboxes[sandbox_id], state=SandboxState.NOTREADY)

    async def remove_pod_sandbox(self, sandbox_id: SandboxId) -> None:
        self._call(f"remove_pod_sandbox {sandbox_id}")
        for container in list(self.containers.values()):
            if container.sandbox_id == sandbox_id:
                await self.remove_container(container.id)
        self.sandboxes.pop(sandbox_id, None)

    def list_pod_sandboxes(self, pod_uid: PodUID | None = None) -> list[PodSandboxStatus]:
        return [sandbox for sandbox in self.sandboxes.values() if pod_uid in (None, sandbox.uid)]

    async def create_container(self, sandbox_id: SandboxId, config: ContainerConfig) -> ContainerId:
        self._call(f"create_container {config.name}/{config.attempt}")
        await asyncio.sleep(0)
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None:
            raise NotFoundError(f"cannot find sandbox {sandbox_id}")
        if sandbox.state is not SandboxState.READY:
            raise ConflictError(f"cannot create container {config.name}: sandbox {sandbox_id} is not running")
        container_id = ContainerId(self._new_id("c"))
        status = ContainerStatus(
            id=container_id, sandbox_id=sandbox_id, pod_uid=sandbox.uid, pod_namespace=sandbox.namespace,
            pod_name=sandbox.name, name=config.name, attempt=config.attempt, state=ContainerState.CREATED,
            image_ref=config.image_ref, image_id=config.image_id, created_at_ns=self._clock.now_ns(),
            log_path=config.log_path, resources=config.resources, labels=dict(config.labels),
        )  # fmt: skip
        self.containers[container_id] = status
        self.configs[container_id] = config
        self._emit(ContainerEventType.CREATED, status)
        return container_id

    async def start_container(self, container_id: ContainerId) -> None:
        status = self.container_status(container_id)
        if status.state is not ContainerState.CREATED:
            raise ConflictError(f"cannot start container {container_id}: it is in state {status.state.value}")
        script = self._script(status)
        try:
            self._call(f"start_container {status.name}/{status.attempt}")
            await asyncio.sleep(0)
            if script.start_error is not None:
                raise script.start_error
        except BaseException as error:
            # A container is started once: whatever stops its start ends it.
            refused = error if isinstance(error, ContainerStartError) else ContainerStartError(str(error))
            self._finish(container_id, refused.exit_code, refused.reason, str(refused))
            if isinstance(error, PodhostError | OSError):
                raise refused from error
            raise
        now = self._clock.now_ns()
        status = replace(status, state=ContainerState.RUNNING, started_at_ns=now, pid=4711)
        self.containers[container_id] = status
        self._emit(ContainerEventType.STARTED, status)
        if script.run_s is not None:
            loop = asyncio.get_running_loop()
            self._timers[container_id] = loop.call_later(script.run_s, self._on_script_end, container_id, script)

    def _on_script_end(self, container_id: ContainerId, script: Script) -> None:
        if script.message:
            path = self.configs[container_id].mounts[-1].host_path
            path.write_text(script.message)
        self._finish(container_id, script.code)

    def kill(self, container_id: ContainerId, code: int) -> None:
        """The process dies."""
        status = self.containers.get(container_id)
        if status is not None and status.state is ContainerState.RUNNING:
            self._finish(container_id, code)

    def _finish(self, container_id: ContainerId, code: int, reason: str = "", message: str = "") -> None:
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        status = replace(
            self.containers[container_id], state=ContainerState.EXITED, exit_code=code, pid=0,
            finished_at_ns=self._clock.now_ns(), message=message,
            reason=reason or ("Error" if code else "Completed"),
        )  # fmt: skip
        self.containers[container_id] = status
        self._exited[container_id].set()
        self._emit(ContainerEventType.STOPPED, status)

    async def stop_container(self, container_id: ContainerId, grace_s: float) -> None:
        status = self.containers.get(container_id)
        if status is None or status.state is not ContainerState.RUNNING:
            return
        self._call(f"stop_container {status.name} {grace_s:g}")
        script = self._script(status)
        if not script.ignores_term:
            self.kill(container_id, script.term_code if grace_s > 0 else 137)
            return
        timer = asyncio.get_running_loop().call_later(grace_s, self.kill, container_id, 137)
        await self._exited[container_id].wait()
        timer.cancel()

    async def remove_container(self, container_id: ContainerId) -> None:
        status = self.containers.get(container_id)
        if status is None:
            return
        self._call(f"remove_container {status.name}/{status.attempt}")
        self.kill(container_id, 137)
        status = self.containers.pop(container_id)
        self._emit(ContainerEventType.DELETED, status)

    def list_containers(self, pod_uid: PodUID | None = None) -> list[ContainerStatus]:
        return [c for c in self.containers.values() if pod_uid in (None, c.pod_uid)]

    def container_status(self, container_id: ContainerId) -> ContainerStatus:
        if container_id not in self.containers:
            raise NotFoundError(f"cannot find container {container_id}")
        return self.containers[container_id]

    async def is_container_ending(self, container_id: ContainerId) -> bool:
        status = self.containers.get(container_id)
        return status is None or status.state is not ContainerState.RUNNING or status.name in self.dying

    async def update_container_resources(self, container_id: ContainerId, resources: LinuxResources) -> None:
        self._call(f"update_container_resources {self.containers[container_id].name}")
        self.containers[container_id] = replace(self.containers[container_id], resources=resources)

    async def update_pod_sandbox_resources(self, sandbox_id: SandboxId, resources: LinuxResources) -> None:
        self._call(f"update_pod_sandbox_resources {sandbox_id}")
        self.sandboxes[sandbox_id] = replace(self.sandboxes[sandbox_id], resources=resources)

    async def update_qos_resources(self, qos_class: QosClass, resources: LinuxResources) -> None:
        # Not among the calls: it is about no pod.
        if self.fail["update_qos_resources"]:
            raise self.fail["update_qos_resources"].pop(0)
        self.qos_resources[qos_class] = resources

    async def list_writable_layers(self, pod_uid: PodUID) -> dict[ContainerId, DiskUsage]:
        return {
            status.id: DiskUsage(used_bytes=self.layers.get(status.name, 0), inodes=self.inodes.get(status.name, 0))
            for status in self.list_containers(pod_uid)
        }

    def list_missing_modules(self) -> frozenset[str]:
        return frozenset()

    def list_unlimited_resources(self) -> frozenset[str]:
        return frozenset(self.unlimited)

    async def list_container_stats(self, pod_uids: Sequence[PodUID]) -> list[ContainerStats]:
        """What a test has put into ``stats``."""
        self._call("list_container_stats")
        return [each for each in self.stats() if each.pod_uid in pod_uids]

    async def list_pod_sandbox_stats(self, pod_uids: Sequence[PodUID]) -> list[PodSandboxStats]:
        """As if nothing but containers were in a pod's cgroup."""
        return [_sum_stats(uid, found) for uid in pod_uids if (found := [e for e in self.stats() if e.pod_uid == uid])]

    async def exec_sync(self, container_id: ContainerId, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        return ExecResult(exit_code=0, stdout=b"", stderr=b"")

    async def exec(self, container_id: ContainerId, command: tuple[str, ...], *, tty: bool, stdin: bool) -> ExecSession:
        raise NotFoundError(f"cannot exec in {container_id}")

    async def attach(self, container_id: ContainerId, *, tty: bool, stdin: bool) -> ExecSession:
        raise NotFoundError(f"cannot attach to {container_id}")

    async def reopen_container_log(self, container_id: ContainerId) -> None:
        self._call(f"reopen_container_log {container_id}")

    def subscribe(self, callback: Callable[[ContainerEvent], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def recover(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def reboot(self) -> None:
        """All processes and sandboxes are gone, the records are not."""
        for container in list(self.containers.values()):
            self.kill(container.id, 255)
        for sandbox_id, sandbox in self.sandboxes.items():
            self.sandboxes[sandbox_id] = replace(sandbox, state=SandboxState.NOTREADY)

    def names(self, state: ContainerState) -> list[str]:
        """Containers in a state, by name."""
        return sorted(c.name for c in self.containers.values() if c.state is state)


def _sum_stats(uid: PodUID, containers: Sequence[ContainerStats]) -> PodSandboxStats:
    sizes = [each.memory.working_set_bytes for each in containers if each.memory is not None]
    counts = [each.process_count for each in containers if each.process_count is not None]
    return PodSandboxStats(
        pod_uid=uid,
        created_at_ns=0,
        memory=MemoryUsage(working_set_bytes=sum(sizes), usage_bytes=sum(sizes)) if sizes else None,
        process_count=sum(counts) if counts else None,
    )


@dataclass(slots=True)
class FakeImages:
    """ImageService.  ``errors[ref]`` are raised by the next pulls; ``pull_s`` is how long a pull takes."""

    local: dict[str, Image] = field(default_factory=dict)
    remote: set[str] = field(default_factory=set)
    errors: dict[str, list[ImagePullError]] = field(default_factory=dict)
    pull_s: float = 0.0
    pulls: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    auths: list[tuple[AuthConfig, ...]] = field(default_factory=list)

    def add(self, ref: str, *, local_name: bool = False, user: str = "") -> Image:
        """Put an image into the store."""
        name = str(normalize(ref))
        image = Image(
            id=ImageId(f"sha256:{abs(hash(name)):064x}"[:71]), repo_tags=(name,),
            repo_digests=(f"{name.rpartition(':')[0]}@sha256:{'d' * 64}",), size_bytes=1000,
            created_at="", architecture="amd64", os="linux", config=ImageConfig(user=user),
            local_names=(name,) if local_name else (),
        )  # fmt: skip
        self.local[name] = image
        return image

    def image_status(self, ref: str) -> Image | None:
        for image in self.local.values():
            if image.id == ref or ref in image.repo_digests:
                return image
        try:
            return self.local.get(str(normalize(ref)))
        except PodhostError:
            return None

    def list_images(self) -> list[Image]:
        return list({image.id: image for image in self.local.values()}.values())

    async def pull_image(
        self, ref: str, *, auths: tuple[AuthConfig, ...] = (), progress: ProgressCallback | None = None
    ) -> Image:
        self.pulls.append(ref)
        self.auths.append(auths)
        try:
            await asyncio.sleep(self.pull_s)
        except asyncio.CancelledError:
            self.cancelled.append(ref)
            raise
        if self.errors.get(ref):
            raise self.errors[ref].pop(0)
        if ref not in self.remote:
            raise ImagePullError(f'failed to pull and unpack image "{ref}": {ref}: not found')
        return self.local.get(str(normalize(ref))) or self.add(ref)

    def subscribe_pulls(self, callback: ProgressCallback) -> Callable[[], None]:
        return lambda: None

    async def load_image(
        self, source: str, *, name: str | None = None, progress: ProgressCallback | None = None
    ) -> list[Image]:
        return [self.add(name or source, local_name=True)]

    async def build_image(
        self,
        context: Path,
        *,
        name: str,
        containerfile: Path | None = None,
        output: Callable[[bytes], None] | None = None,
    ) -> Image:
        return self.add(name, local_name=True)

    async def tag_image(self, source: str, name: str) -> Image:
        self.local[str(normalize(name))] = self._find(source)
        self._rename(self._find(source).id)
        return self._find(name)

    async def remove_image(self, ref: str) -> None:
        image = self._find(ref)
        for name in image.repo_tags if ref == image.id else [str(normalize(ref))]:
            del self.local[name]
        self._rename(image.id)

    def _find(self, ref: str) -> Image:
        image = self.image_status(ref)
        if image is None:
            raise NotFoundError(f"no such image: {ref}")
        return image

    def _rename(self, image_id: ImageId) -> None:
        """An image knows the names under which it is here."""
        names = [name for name, image in self.local.items() if image.id == image_id]
        for name in names:
            image = self.local[name]
            self.local[name] = replace(
                image, repo_tags=tuple(names), local_names=tuple(n for n in image.local_names if n in names)
            )

    async def prune(self) -> tuple[int, int]:
        return 0, 0


@dataclass(slots=True)
class FakeVolumes:
    """PodVolumes.  ``errors`` are raised by the next mounts."""

    mounted: set[PodUID] = field(default_factory=set)
    lost: set[tuple[str, str]] = field(default_factory=set)
    """ConfigMaps, by namespace and name, that do not exist; all others do."""
    errors: list[VolumeError] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """What cannot be updated, of every pod."""
    refreshed: list[tuple[str, str, str]] = field(default_factory=list)
    refreshed_pods: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    """Names of pods."""
    disk_bytes: dict[str, int] = field(default_factory=dict)
    """Of each of a pod's volumes, by the pod's name."""

    async def mount_volumes(self, pod: models.Pod) -> dict[str, MountedVolume]:
        if pod.spec.volumes:
            self.mounted.add(PodUID(pod.metadata.uid))
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        for v in pod.spec.volumes:
            if v.config_map and (pod.metadata.namespace, v.config_map.name) in self.lost:
                raise VolumeError(
                    f'MountVolume.SetUp failed for volume "{v.name}" : configmap "{v.config_map.name}" not found'
                )
        return {
            v.name: MountedVolume(
                name=v.name, host_path=Path("/volumes") / v.name, read_only=bool(v.config_map or v.secret)
            )
            for v in pod.spec.volumes
        }

    async def container_mounts(
        self, pod: models.Pod, container: models.Container, mounted: Mapping[str, MountedVolume]
    ) -> tuple[Mount, ...]:
        for m in container.volume_mounts:
            if m.name not in mounted:
                raise VolumeError(f'cannot find volume "{m.name}" to mount into container "{container.name}"')
        return tuple(
            Mount(
                container_path=m.mount_path,
                host_path=mounted[m.name].host_path,
                read_only=bool(m.read_only) or mounted[m.name].read_only,
            )
            for m in container.volume_mounts
        )

    async def unmount_volumes(self, uid: PodUID) -> None:
        self.mounted.discard(uid)

    async def refresh_pod(self, pod: models.Pod) -> list[str]:
        self.refreshed_pods.append(pod.metadata.name)
        return list(self.stale)

    async def refresh_object(self, kind: str, namespace: str, name: str) -> dict[PodUID, list[str]]:
        self.refreshed.append((kind, namespace, name))
        return {uid: list(self.stale) for uid in self.mounted}

    async def measure_volumes(
        self, pod: models.Pod, names: Collection[str] | None = None
    ) -> dict[str, FileSystemStats]:
        self.measured.append(pod.metadata.name or "")
        used = DiskUsage(used_bytes=self.disk_bytes.get(pod.metadata.name or "", 0), inodes=1)
        free = FileSystemStats(used=used, capacity_bytes=1 << 40, available_bytes=1 << 39, inodes=1000, inodes_free=900)
        return {volume.name: free for volume in pod.spec.volumes if names is None or volume.name in names}

    def list_pods(self) -> set[PodUID]:
        return set(self.mounted)
