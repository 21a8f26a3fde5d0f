"""RunPodSandbox, in numbered steps, each with its undo; nothing is recorded before all is there.

A daemon killed in between leaves a directory, pinned namespaces, a link and a cgroup without a record: the
start-up sweep removes them.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import dataclass
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.aiokit.completion import run_in_thread_to_end, run_to_end
from podhost.cri.ids import SandboxId
from podhost.cri.runtime import PodSandboxConfig
from podhost.errors import ExhaustedError, InvalidError, PodhostError
from podhost.linux import cgroup, mount
from podhost.linux.fs import remove_tree, write_atomic
from podhost.linux.namespaces import pin_namespaces, unpin_namespaces
from podhost.linux.pidfd import ProcessId, boot_id
from podhost.linux.user_namespaces import pin_user_namespace
from podhost.runtime.cgroup_limits import build_limits
from podhost.runtime.cgroup_warmup import warm_up_migrations
from podhost.runtime.context import RuntimeContext
from podhost.runtime.oci_runtime import remove_empty_cgroup
from podhost.runtime.oci_spec import SandboxView
from podhost.runtime.pid_holder import start_holder, stop_holder
from podhost.runtime.records import SandboxRecord
from podhost.runtime.registry import SandboxEntry
from podhost.runtime.sandbox_files import build_hosts, build_resolv_conf
from podhost.runtime.settings import RuntimePaths, SandboxPaths
from podhost.runtime.undo import UndoStack

_log = logging.getLogger(__name__)

_NAMESPACES = failpoint.register("sandbox.run.01-namespaces")
_NETWORK = failpoint.register("sandbox.run.02-network")
_FILES = failpoint.register("sandbox.run.03-files")
_HOLDER = failpoint.register("sandbox.run.04-holder")
_RECORD = failpoint.register("sandbox.run.05-record")


@dataclass(slots=True)
class _Made:
    """What the steps have found out so far."""

    ips: tuple[str, ...] = ()
    holder: ProcessId | None = None


async def run_pod_sandbox(ctx: RuntimeContext, sandbox_id: SandboxId, config: PodSandboxConfig) -> SandboxEntry:
    """Make a sandbox.  Leaves nothing on failure.

    Raises:
        InvalidError: Settings that exclude each other.
        UnavailableError: No OCI runtime has the name of the handler.
        PodhostError: A step failed.
    """
    ctx.settings.runtime(config.runtime_handler)
    if config.host_pid and config.share_process_namespace:
        raise InvalidError("cannot run sandbox: hostPID and shareProcessNamespace exclude each other")
    undo = UndoStack(f"sandbox {sandbox_id}")
    try:
        record = await _run_steps(ctx, sandbox_id, config, undo)
    except BaseException as error:
        await undo.unwind()
        if isinstance(error, OSError):
            raise build_os_error(f'cannot run sandbox of pod "{config.namespace}/{config.name}"', error) from error
        raise
    return ctx.registry.add_sandbox(record)


async def _run_steps(
    ctx: RuntimeContext, sandbox_id: SandboxId, config: PodSandboxConfig, undo: UndoStack
) -> SandboxRecord:
    paths = ctx.paths.sandbox(sandbox_id)
    made = _Made()
    ctx.tasks.spawn(asyncio.to_thread(warm_up_migrations), name="cgroup-warm-up")
    undo.push(lambda: asyncio.to_thread(remove_sandbox_files, ctx.paths, config, paths))
    await run_in_thread_to_end(_make_namespaces, ctx, config, paths)
    failpoint.hit(_NAMESPACES)
    if not config.host_network:
        undo.push(lambda: ctx.network.detach(sandbox_id))
        status = await ctx.network.attach(sandbox_id, paths.namespaces / "net", config.port_mappings)
        made.ips = status.ips
    failpoint.hit(_NETWORK)
    await run_in_thread_to_end(_write_files, config, made.ips, paths)
    failpoint.hit(_FILES)
    if config.share_process_namespace:
        undo.push(lambda: stop_holder(ctx, sandbox_id, config))
        view = build_sandbox_view(config, paths)
        made.holder = await run_to_end(start_holder(ctx, sandbox_id, config, view))
    failpoint.hit(_HOLDER)
    record = SandboxRecord(
        id=sandbox_id,
        config=config,
        boot_id=boot_id(),
        created_at_ns=ctx.clock.now_ns(),
        ips=made.ips,
        holder=made.holder,
        selinux_level=_choose_level(ctx, sandbox_id),
    )
    undo.push(lambda: asyncio.to_thread(ctx.registry.files.delete_sandbox, sandbox_id))
    await run_in_thread_to_end(ctx.registry.files.save_sandbox, record)
    failpoint.hit(_RECORD)
    return record


def _choose_level(ctx: RuntimeContext, sandbox_id: SandboxId) -> str:
    if ctx.selinux is None:
        return ""
    taken = {entry.record.selinux_level for entry in ctx.registry.sandboxes()}
    return ctx.selinux.choose_level(sandbox_id, taken)


def build_os_error(what: str, error: OSError) -> PodhostError:
    """The kind of failure that an OSError amounts to."""
    kind = ExhaustedError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE) else PodhostError
    return kind(f"{what}: {error}")


def compute_namespace_kinds(config: PodSandboxConfig) -> frozenset[str]:
    """The namespaces that the pod has of its own; its hostname goes with its network, as in containerd."""
    kinds = set()
    if not config.host_network:
        kinds |= {"net", "uts"}
    if not config.host_ipc:
        kinds.add("ipc")
    return frozenset(kinds)


def build_sandbox_view(config: PodSandboxConfig, paths: SandboxPaths) -> SandboxView:
    """What containers see of the sandbox."""
    kinds = compute_namespace_kinds(config)

    def pinned(kind: str) -> Path | None:
        return paths.namespaces / kind if kind in kinds else None

    return SandboxView(
        user_path=paths.namespaces / "user" if config.first_host_id else None,
        first_host_id=config.first_host_id,
        network_path=pinned("net"),
        ipc_path=pinned("ipc"),
        uts_path=pinned("uts"),
        pid_path=paths.pid_namespace if config.share_process_namespace else None,
        host_pid=config.host_pid,
        hostname=config.hostname,
        hosts=paths.hosts,
        hostname_file=paths.hostname,
        resolv_conf=paths.resolv_conf,
        shm=Path("/dev/shm") if config.host_ipc else paths.shm,
        mqueue=None if config.host_ipc else paths.mqueue,
    )


def _make_namespaces(ctx: RuntimeContext, config: PodSandboxConfig, sandbox: SandboxPaths) -> None:
    kinds = compute_namespace_kinds(config)
    sandbox.root.mkdir(parents=True, mode=0o711)
    _make_pod_cgroup(ctx, config)
    mqueue = sandbox.mqueue if "ipc" in kinds else None
    if mqueue is not None:
        mqueue.mkdir(mode=0o755)
        sandbox.shm.mkdir(mode=0o755)
        owner = config.first_host_id
        mount.mount_tmpfs(sandbox.shm, size_bytes=config.shm_size_bytes, mode=0o1777, uid=owner, gid=owner)
    if config.first_host_id:
        try:
            pin_user_namespace(
                sandbox.namespaces,
                kinds,
                config.first_host_id,
                hostname=config.hostname,
                sysctls=config.sysctls,
                mqueue_target=mqueue,
            )
        except OSError as error:
            raise PodhostError(f"cannot make the user namespace of the pod: {error}") from error
    elif kinds:
        pin_namespaces(
            sandbox.namespaces,
            kinds,
            hostname=config.hostname if "uts" in kinds else None,
            sysctls=config.sysctls,
            mqueue_target=mqueue,
        )


def _make_pod_cgroup(ctx: RuntimeContext, config: PodSandboxConfig) -> None:
    for problem in cgroup.ensure_pod_parent(ctx.paths.pod_cgroup(config), build_limits(config.resources, ctx.host)):
        _log.warning("pod %s/%s runs without one of its limits: %s", config.namespace, config.name, problem)


def _write_files(config: PodSandboxConfig, ips: tuple[str, ...], sandbox: SandboxPaths) -> None:
    host_hosts = _read_text(Path("/etc/hosts")) if config.host_network else ""
    dns = config.dns
    host_resolv = "" if dns.servers or dns.searches or dns.options else _read_text(Path("/etc/resolv.conf"))
    for path, text in (
        (sandbox.hosts, build_hosts(config, ips, host_hosts)),
        (sandbox.hostname, f"{config.hostname}\n"),
        (sandbox.resolv_conf, build_resolv_conf(dns, host_resolv)),
    ):
        write_atomic(path, text.encode(), mode=0o644)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def remove_sandbox_files(paths: RuntimePaths, config: PodSandboxConfig, sandbox: SandboxPaths) -> None:
    """Namespaces, mounts, directory, and the pod's cgroup unless another sandbox of the pod uses it.  Idempotent."""
    unpin_namespaces(sandbox.namespaces)
    mount.unmount(sandbox.pid_namespace)
    for target in (sandbox.shm, sandbox.mqueue):
        mount.unmount(target)
    remove_tree(sandbox.root)
    remove_empty_cgroup(paths.pod_cgroup(config))
