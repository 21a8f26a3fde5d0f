"""The RuntimeService of one instance: verbs by name, each in its own module."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Sequence

from podhost.aiokit.clock import Clock
from podhost.aiokit.tasks import Tasks
from podhost.api.qos import QosClass
from podhost.cri.ids import ContainerId, PodUID, SandboxId
from podhost.cri.images import Snapshotter
from podhost.cri.network import PodNetwork
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerEvent,
    ContainerState,
    ContainerStatus,
    ExecResult,
    ExecSession,
    LinuxResources,
    PodSandboxConfig,
    PodSandboxStatus,
    RuntimeVersion,
)
from podhost.cri.stats import ContainerStats, DiskUsage, PodSandboxStats
from podhost.errors import ConflictError, UnavailableError
from podhost.linux import cgroup, spawn
from podhost.linux.bare_mounts import create_bare_launcher
from podhost.linux.fs import ensure_directory
from podhost.linux.pidfd import boot_id, is_ending
from podhost.runtime.apparmor import find_apparmor
from podhost.runtime.attach import attach
from podhost.runtime.conmon import REOPEN_LOG, write_control
from podhost.runtime.container_create import create_container
from podhost.runtime.container_exit import on_container_exit
from podhost.runtime.container_start import start_container
from podhost.runtime.container_stats import list_container_stats
from podhost.runtime.container_stop import kill_container, remove_container, stop_container
from podhost.runtime.context import ImageLookup, RuntimeContext
from podhost.runtime.exec import exec_sync, start_exec
from podhost.runtime.exit_monitor import ExitFact, ExitMonitor, wait_process
from podhost.runtime.host_facts import HostFacts, read_host_facts
from podhost.runtime.oci_runtime import remove_empty_cgroup
from podhost.runtime.qos_cgroups import create_qos_cgroups, remove_qos_cgroups, update_qos_resources
from podhost.runtime.records import (
    RecordFiles,
    compute_container_state,
    compute_container_status,
    compute_sandbox_status,
)
from podhost.runtime.recovery import recover
from podhost.runtime.registry import ContainerEntry, Registry, SandboxEntry
from podhost.runtime.resources_update import update_container_resources, update_pod_sandbox_resources
from podhost.runtime.sandbox_run import run_pod_sandbox
from podhost.runtime.sandbox_stats import list_pod_sandbox_stats
from podhost.runtime.sandbox_stop import on_holder_exit, remove_pod_sandbox, stop_pod_sandbox
from podhost.runtime.seccomp import FilterCache
from podhost.runtime.selinux import find_selinux
from podhost.runtime.settings import RuntimePaths, RuntimeSettings

_log = logging.getLogger(__name__)


def _prepare_host(settings: RuntimeSettings, paths: RuntimePaths) -> HostFacts:
    """The monitors' cgroup, and what the host offers: which limits work can be seen in there."""
    runtime = settings.runtime()
    layout = cgroup.detect()
    if not layout.version and runtime.kind != "crun":
        text = f"this host gives no cgroups, and {runtime.kind} needs them: install crun"
        raise UnavailableError(f"cannot run containers: {text}")
    try:
        cgroup.create(paths.monitor_cgroup)
        create_qos_cgroups(paths)
    except OSError as error:
        raise UnavailableError(f"cannot run containers: no cgroups can be made: {error}") from error
    controllers = cgroup.usable_controllers(paths.monitor_cgroup)
    if missing := {"cpu", "memory", "pids"} - controllers:
        _log.warning("containers run without limits of %s: this host does not allow them", ", ".join(sorted(missing)))
    place = layout.directory("memory", paths.monitor_cgroup) or layout.root
    return read_host_facts(layout.version, controllers, place)


class OciRuntimeService:
    """crun (or runc) under conmon; implements :class:`podhost.cri.runtime.RuntimeService`.

    ``find_image`` is ``ImageService.image_status``; it is called in the event loop and must not block.
    Needs to run in the daemon's mount namespace: everything that it mounts stays in there.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        snapshotter: Snapshotter,
        find_image: ImageLookup,
        network: PodNetwork,
        clock: Clock,
    ) -> None:
        """Raises UnavailableError when there is no OCI runtime, OSError when the directories cannot be made."""
        paths = RuntimePaths(settings.data_dir, settings.run_dir, settings.cgroup_parent)
        boot_id()  # read now, kept for ever
        for directory in paths.all_directories():
            ensure_directory(directory, 0o711)
        self._ctx = RuntimeContext(
            settings=settings,
            paths=paths,
            snapshotter=snapshotter,
            find_image=find_image,
            network=network,
            clock=clock,
            registry=Registry(RecordFiles(paths.sandbox_records, paths.container_records)),
            filters=FilterCache(paths.seccomp_cache),
            monitor=ExitMonitor(paths.exits, self._on_exit, self._kill_orphan),
            tasks=Tasks(),
            host=_prepare_host(settings, paths),
            apparmor=find_apparmor(settings.apparmor_parser_path),
            selinux=find_selinux(),
            exec_launcher=create_bare_launcher(settings.list_hidden_mounts(paths)),
        )
        self._version: RuntimeVersion | None = None

    async def version(self) -> RuntimeVersion:
        if self._version is None:
            runtime = self._ctx.settings.runtime()
            completed = await spawn.run([str(runtime.path), "--version"], check=False)
            found = re.search(rb"version\s+(\S+)", completed.stdout)
            text = found[1].decode(errors="replace") if found else "unknown"
            self._version = RuntimeVersion(runtime_name=runtime.kind, runtime_version=text)
        return self._version

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> PodSandboxStatus:
        entry = await run_pod_sandbox(self._ctx, SandboxId(secrets.token_hex(32)), config)
        self._watch_holder(entry)
        return self._sandbox_status(entry)

    async def stop_pod_sandbox(self, sandbox_id: SandboxId) -> None:
        await stop_pod_sandbox(self._ctx, sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: SandboxId) -> None:
        await remove_pod_sandbox(self._ctx, sandbox_id)

    def list_pod_sandboxes(self, pod_uid: PodUID | None = None) -> list[PodSandboxStatus]:
        return [self._sandbox_status(entry) for entry in self._ctx.registry.sandboxes(pod_uid)]

    async def create_container(self, sandbox_id: SandboxId, config: ContainerConfig) -> ContainerId:
        container_id = ContainerId(secrets.token_hex(32))
        entry = await create_container(self._ctx, container_id, sandbox_id, config)
        return entry.record.id

    async def start_container(self, container_id: ContainerId) -> None:
        await start_container(self._ctx, container_id)

    async def stop_container(self, container_id: ContainerId, grace_s: float) -> None:
        await stop_container(self._ctx, container_id, grace_s)

    async def remove_container(self, container_id: ContainerId) -> None:
        await remove_container(self._ctx, container_id)

    def list_containers(self, pod_uid: PodUID | None = None) -> list[ContainerStatus]:
        statuses = map(self._container_status, self._ctx.registry.containers(pod_uid))
        return [status for status in statuses if status is not None]

    def container_status(self, container_id: ContainerId) -> ContainerStatus:
        status = self._container_status(self._ctx.registry.container(container_id))
        if status is None:
            raise UnavailableError(f'cannot tell the status of container "{container_id}": its sandbox is gone')
        return status

    async def is_container_ending(self, container_id: ContainerId) -> bool:
        entry = self._ctx.registry.find_container(container_id)
        if entry is None or entry.record.process is None:
            return True
        if compute_container_state(entry.record) is not ContainerState.RUNNING:
            return True
        return await asyncio.to_thread(is_ending, entry.record.process)

    async def update_container_resources(self, container_id: ContainerId, resources: LinuxResources) -> None:
        await update_container_resources(self._ctx, container_id, resources)

    async def update_pod_sandbox_resources(self, sandbox_id: SandboxId, resources: LinuxResources) -> None:
        await update_pod_sandbox_resources(self._ctx, sandbox_id, resources)

    async def update_qos_resources(self, qos_class: QosClass, resources: LinuxResources) -> None:
        await update_qos_resources(self._ctx, qos_class, resources)

    async def list_writable_layers(self, pod_uid: PodUID) -> dict[ContainerId, DiskUsage]:
        ids = [entry.record.id for entry in self._ctx.registry.containers(pod_uid)]
        return {each: await self._ctx.snapshotter.measure(each) for each in ids}

    def list_missing_modules(self) -> frozenset[str]:
        present = {"AppArmor": self._ctx.apparmor.enabled, "SELinux": self._ctx.selinux is not None}
        return frozenset(name for name, is_there in present.items() if not is_there)

    def list_unlimited_resources(self) -> frozenset[str]:
        return frozenset({"cpu", "memory", "pids"}) - self._ctx.host.controllers

    async def list_container_stats(self, pod_uids: Sequence[PodUID]) -> list[ContainerStats]:
        return await list_container_stats(self._ctx, pod_uids)

    async def list_pod_sandbox_stats(self, pod_uids: Sequence[PodUID]) -> list[PodSandboxStats]:
        return await list_pod_sandbox_stats(self._ctx, pod_uids)

    async def exec_sync(self, container_id: ContainerId, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        return await exec_sync(self._ctx, container_id, command, timeout_s)

    async def exec(self, container_id: ContainerId, command: tuple[str, ...], *, tty: bool, stdin: bool) -> ExecSession:
        return await start_exec(self._ctx, container_id, command, tty=tty, stdin=stdin)

    async def attach(self, container_id: ContainerId, *, tty: bool, stdin: bool) -> ExecSession:
        """``tty`` is the container's own affair and does not change anything here."""
        return await attach(self._ctx, container_id, stdin=stdin)

    async def reopen_container_log(self, container_id: ContainerId) -> None:
        """Raises ConflictError for a container that does not run, UnavailableError when conmon is gone."""
        entry = self._ctx.registry.container(container_id)
        if compute_container_state(entry.record) is not ContainerState.RUNNING:
            raise ConflictError(f'cannot reopen the log of container "{container_id}": it is not running')
        control = self._ctx.paths.bundle(container_id).control
        try:
            await asyncio.to_thread(write_control, control, REOPEN_LOG)
        except OSError as error:
            raise UnavailableError(f'cannot reopen the log of container "{container_id}": {error}') from error

    def subscribe(self, callback: Callable[[ContainerEvent], None]) -> Callable[[], None]:
        return self._ctx.registry.subscribe(callback)

    async def recover(self) -> None:
        self._ctx.monitor.start()
        await self._ctx.apparmor.open()
        await recover(self._ctx)
        for entry in self._ctx.registry.sandboxes():
            self._watch_holder(entry)

    async def close(self) -> None:
        await self._ctx.monitor.close()
        await self._ctx.tasks.cancel_all()
        await asyncio.to_thread(self._ctx.exec_launcher.shutdown)
        # Gone with the last container; while one lives, its monitor keeps them.
        await asyncio.to_thread(remove_empty_cgroup, self._ctx.paths.monitor_cgroup)
        await asyncio.to_thread(remove_qos_cgroups, self._ctx.paths)

    async def _on_exit(self, container_id: ContainerId, fact: ExitFact | None) -> None:
        await on_container_exit(self._ctx, container_id, fact)

    def _kill_orphan(self, container_id: ContainerId) -> None:
        entry = self._ctx.registry.find_container(container_id)
        if entry is not None:
            kill_container(self._ctx, entry)

    def _watch_holder(self, entry: SandboxEntry) -> None:
        if entry.record.holder is not None and not entry.record.stopped_at_ns:
            self._ctx.tasks.spawn(self._wait_holder(entry), name=f"runtime-holder:{entry.record.id}")

    async def _wait_holder(self, entry: SandboxEntry) -> None:
        await wait_process(entry.record.holder)
        await on_holder_exit(self._ctx, entry)

    def _sandbox_status(self, entry: SandboxEntry) -> PodSandboxStatus:
        record = entry.record
        netns = None if record.config.host_network else self._ctx.paths.sandbox(record.id).namespaces / "net"
        return compute_sandbox_status(record, netns)

    def _container_status(self, entry: ContainerEntry) -> ContainerStatus | None:
        sandbox = self._ctx.registry.find_sandbox(entry.record.sandbox_id)
        return None if sandbox is None else compute_container_status(entry.record, sandbox.record.config)
