"""CreateContainer, in numbered steps: bundle directory, writable layer, mounted root, user, spec, record.

Nothing is recorded before all is there; what a killed daemon leaves has no record and is swept at the next start.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from podhost.aiokit import failpoint
from podhost.aiokit.completion import run_in_thread_to_end
from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.images import Image, RootfsMount
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerEventType,
    ContainerStartError,
    ContainerUser,
    Mount,
    SecurityConfig,
)
from podhost.errors import ConflictError, NotFoundError, describe_cause
from podhost.linux import mount
from podhost.linux.fs import remove_tree
from podhost.linux.pidfd import identify, open_pidfd
from podhost.linux.security_modules import relabel_tree
from podhost.linux.user_namespaces import ID_COUNT
from podhost.runtime.capabilities import compute_capabilities
from podhost.runtime.context import RuntimeContext
from podhost.runtime.host_facts import list_host_devices
from podhost.runtime.image_volumes import ensure_image_volumes
from podhost.runtime.mapped_mounts import expose_mounts, map_mounts, mount_root
from podhost.runtime.oci_spec import SpecInput, build_container_spec, find_propagation_obstacle
from podhost.runtime.records import ContainerRecord, SandboxRecord
from podhost.runtime.registry import ContainerEntry
from podhost.runtime.sandbox_run import build_os_error, build_sandbox_view
from podhost.runtime.seccomp import (
    BPF_ANNOTATION,
    compute_cache_key,
    resolve_custom_profile,
    resolve_default_profile,
)
from podhost.runtime.selinux import Labels, check_labels, compute_labels
from podhost.runtime.settings import BundlePaths, OciRuntime, SandboxPaths
from podhost.runtime.undo import UndoStack
from podhost.runtime.users import ResolvedUser, read_user

_DIRECTORY = failpoint.register("container.create.01-directory")
_SNAPSHOT = failpoint.register("container.create.02-snapshot")
_SPEC = failpoint.register("container.create.03-spec")
_RECORD = failpoint.register("container.create.04-record")

SECCOMP_KEY_FILE = "seccomp-key"
"""In the bundle while its filter is not compiled yet: the cache key to keep crun's result under."""


async def create_container(
    ctx: RuntimeContext, container_id: ContainerId, sandbox_id: SandboxId, config: ContainerConfig
) -> ContainerEntry:
    """Make a container.  Leaves nothing on failure.

    Raises:
        ContainerStartError: The user does not exist in the image, there is no command, or a profile is not loaded.
        NotFoundError: The sandbox or the image is gone.
        ConflictError: The sandbox has stopped.
    """
    sandbox = ctx.registry.sandbox(sandbox_id).record
    if sandbox.stopped_at_ns:
        raise ConflictError(f'cannot create container "{config.name}": sandbox "{sandbox_id}" is not running')
    image = ctx.find_image(config.image_id)
    if image is None:
        raise NotFoundError(f'cannot create container "{config.name}": image "{config.image_ref}" is not here')
    if obstacle := find_propagation_obstacle(config.mounts):
        text = f'failed to generate container "{container_id}" spec: failed to generate spec: {obstacle}'
        raise ContainerStartError(text, reason="CreateContainerError")
    undo = UndoStack(f"container {container_id}")
    try:
        record = await _create_steps(ctx, container_id, sandbox, config, image, undo)
    except BaseException as error:
        await undo.unwind()
        if isinstance(error, OSError):
            raise build_os_error(f'cannot create container "{config.name}"', error) from error
        raise
    entry = ctx.registry.add_container(record, sandbox.config.uid, ctx.paths.pod_cgroup(sandbox.config))
    ctx.registry.emit(ContainerEventType.CREATED, entry)
    return entry


async def _create_steps(
    ctx: RuntimeContext,
    container_id: ContainerId,
    sandbox: SandboxRecord,
    config: ContainerConfig,
    image: Image,
    undo: UndoStack,
) -> ContainerRecord:
    bundle = ctx.paths.bundle(container_id)
    undo.push(lambda: asyncio.to_thread(remove_bundle, bundle))
    await run_in_thread_to_end(_make_directories, bundle, config.log_path)
    failpoint.hit(_DIRECTORY)
    undo.push(lambda: ctx.snapshotter.remove(container_id))
    rootfs = await ctx.snapshotter.prepare(container_id, config.image_id)
    failpoint.hit(_SNAPSHOT)
    record = ContainerRecord(
        id=container_id,
        sandbox_id=sandbox.id,
        config=config,
        stop_signal=config.stop_signal or image.config.stop_signal or "SIGTERM",
        created_at_ns=ctx.clock.now_ns(),
    )
    undo.push(lambda: asyncio.to_thread(ctx.registry.files.delete_container, container_id))
    apparmor = await ctx.apparmor.find_profile(config.security)
    record = await run_in_thread_to_end(_write_bundle_and_record, ctx, bundle, rootfs, sandbox, record, image, apparmor)
    failpoint.hit(_RECORD)
    return record


def _make_directories(bundle: BundlePaths, log_path: Path) -> None:
    bundle.root.mkdir(parents=True, mode=0o711)
    bundle.rootfs.mkdir()
    bundle.persist.mkdir()
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)


def _write_bundle_and_record(
    ctx: RuntimeContext,
    bundle: BundlePaths,
    rootfs: RootfsMount,
    sandbox: SandboxRecord,
    record: ContainerRecord,
    image: Image,
    apparmor: str,
) -> ContainerRecord:
    user_namespace = build_sandbox_view(sandbox.config, ctx.paths.sandbox(sandbox.id)).user_path
    labels = compute_labels(ctx.selinux, record.config.security, sandbox.selinux_level)
    check_labels(labels)
    mount_root(bundle, rootfs, user_namespace, sandbox.config.first_host_id, labels.mount)
    seccomp = _choose_seccomp(ctx, ctx.runtime_of(record), record.config.security)
    if record.config.pid_target is not None:
        pin_pid_namespace(ctx, record.config.pid_target, bundle.pid_namespace)
    own = record.config.mounts
    # Beside the writable layer, and removed with it.
    volumes = ensure_image_volumes(bundle.rootfs, rootfs.upper_dir.parent / "volumes", image.config.volumes, own)
    _relabel(ctx.paths.sandbox(sandbox.id), (*own, *volumes), labels.mount)
    volumes = expose_mounts(bundle, volumes, user_namespace, sandbox.config.first_host_id)
    mounts = (*map_mounts(bundle, own, user_namespace), *volumes)
    record_of_spec = replace(record, config=replace(record.config, mounts=mounts))
    given = _collect_input(ctx, bundle, sandbox, record_of_spec, image, seccomp, apparmor, labels)
    spec = build_container_spec(given)
    bundle.config.write_bytes(msgspec.json.encode(spec))
    if seccomp.key_to_learn:
        (bundle.root / SECCOMP_KEY_FILE).write_text(seccomp.key_to_learn)
    failpoint.hit(_SPEC)
    record = replace(record, user=_describe_user(given.user))
    ctx.registry.files.save_container(record)
    return record


def _relabel(sandbox: SandboxPaths, mounts: Iterable[Mount], label: str) -> None:
    """Files that are the pod's own get its label, so that a confined container may use them."""
    if not label:
        return
    for path in (sandbox.hosts, sandbox.hostname, sandbox.resolv_conf, sandbox.shm):
        relabel_tree(path, label)
    for each in mounts:
        if each.relabel:
            relabel_tree(each.host_path, label)


def _describe_user(user: ResolvedUser) -> ContainerUser:
    return ContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.additional_gids)


@dataclass(frozen=True, slots=True)
class _Seccomp:
    capabilities: tuple[str, ...]
    profile: Mapping[str, Any] | None
    annotations: Mapping[str, str]
    key_to_learn: str = ""


def _collect_input(
    ctx: RuntimeContext,
    bundle: BundlePaths,
    sandbox: SandboxRecord,
    record: ContainerRecord,
    image: Image,
    seccomp: _Seccomp,
    apparmor: str,
    labels: Labels,
) -> SpecInput:
    security = record.config.security
    user = read_user(
        bundle.rootfs,
        image.config.user,
        security.run_as_user,
        security.run_as_group,
        security.supplemental_groups,
        merge=security.merge_image_groups,
    )
    if sandbox.config.first_host_id and (unmapped := max(user.uid, *user.additional_gids)) >= ID_COUNT:
        text = f"id {unmapped} of the image's user is not in the user namespace, which has 0 to {ID_COUNT - 1}"
        raise ContainerStartError(text, reason="CreateContainerError")
    view = build_sandbox_view(sandbox.config, ctx.paths.sandbox(sandbox.id))
    if record.config.pid_target is not None:
        view = replace(view, pid_path=bundle.pid_namespace)
    return SpecInput(
        config=record.config,
        image=image.config,
        user=user,
        rootfs=bundle.rootfs,
        cgroup_path=f"{ctx.paths.pod_cgroup(sandbox.config)}/{record.id}",
        sandbox=view,
        host=ctx.host,
        capabilities=seccomp.capabilities,
        seccomp=seccomp.profile,
        annotations=seccomp.annotations,
        apparmor_profile=apparmor,
        labels=labels,
        host_devices=list_host_devices() if security.privileged else (),
    )


def _choose_seccomp(ctx: RuntimeContext, runtime: OciRuntime, security: SecurityConfig) -> _Seccomp:
    host = ctx.host
    capabilities = compute_capabilities(
        security.capabilities_add,
        security.capabilities_drop,
        privileged=security.privileged,
        available=host.capabilities if host.limits_devices else host.capabilities - {"CAP_MKNOD"},
    )
    if security.privileged or security.seccomp_profile == "Unconfined":
        return _Seccomp(capabilities, None, {})
    if security.seccomp_profile == "RuntimeDefault":
        profile = resolve_default_profile(capabilities, host.architecture, host.kernel)
    else:
        profile = _read_profile(ctx, Path(security.seccomp_profile), capabilities)
    if runtime.kind != "crun" or "listenerPath" in profile:
        return _Seccomp(capabilities, profile, {})
    key = compute_cache_key(profile, runtime.read_identity(), host.architecture)
    compiled = ctx.filters.find(key)
    if compiled is None:
        return _Seccomp(capabilities, profile, {}, key)
    return _Seccomp(capabilities, None, {BPF_ANNOTATION: compiled})


def _read_profile(ctx: RuntimeContext, path: Path, capabilities: tuple[str, ...]) -> dict[str, Any]:
    """Raises ContainerStartError, with containerd's words."""
    shown = json.dumps(str(path))
    try:
        content = path.read_bytes()
    except OSError as error:
        cause = f"cannot load seccomp profile {shown}: open {describe_cause(error)}"
        raise ContainerStartError(f"failed to generate spec: {cause}", reason="CreateContainerError") from error
    try:
        return resolve_custom_profile(json.loads(content), capabilities, ctx.host.architecture, ctx.host.kernel)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"decoding seccomp profile failed {shown}: {error}"
        raise ContainerStartError(f"failed to generate spec: {cause}", reason="CreateContainerError") from error


def pin_pid_namespace(ctx: RuntimeContext, target_id: ContainerId, place: Path) -> None:
    """Bind the PID namespace of a running container to a file.  Blocking.

    Raises:
        ConflictError: It does not run.
        OSError: The mount fails.
    """
    target = ctx.registry.find_container(target_id)
    process = target.record.process if target is not None else None
    pidfd = open_pidfd(process) if process is not None else None
    if process is None or pidfd is None:
        raise ConflictError(f'invalid target container: container "{target_id}" is not running')
    try:
        place.touch(mode=0o444)
        mount.bind_mount(Path(f"/proc/{process.pid}/ns/pid"), place, recursive=False)
        # While the process lives, its number names no other: what was bound is its namespace.
        if identify(process.pid) != process:
            raise ConflictError(f'invalid target container: container "{target_id}" is not running')
    finally:
        os.close(pidfd)


def remove_bundle(bundle: BundlePaths) -> None:
    """Unmount the root and delete the bundle.  Idempotent; blocking."""
    mount.unmount(bundle.pid_namespace)
    if bundle.mapped.exists():
        mount.unmount_tree(bundle.mapped)
    mount.unmount(bundle.rootfs)
    remove_tree(bundle.root)
