"""First process of a shared PID namespace: catatonit, which only reaps.

It runs as an OCI container of its own (empty root, no capabilities), because containers can look at it.  Its end
ends the namespace and all in it; it is never started again, the sandbox is then not ready.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec

from podhost.cri.ids import SandboxId
from podhost.cri.runtime import PodSandboxConfig
from podhost.errors import UnavailableError
from podhost.linux import mount, spawn
from podhost.linux.null_device import open_empty_file
from podhost.linux.pidfd import ProcessId, identify
from podhost.runtime.context import RuntimeContext
from podhost.runtime.descriptors import Descriptors
from podhost.runtime.oci_runtime import build_argv, remove_runtime_traces
from podhost.runtime.oci_spec import SandboxView, build_holder_spec


async def start_holder(
    ctx: RuntimeContext, sandbox_id: SandboxId, config: PodSandboxConfig, view: SandboxView
) -> ProcessId:
    """Start it and pin its PID namespace at the sandbox's ``pidns``.

    Raises:
        UnavailableError: catatonit is not installed, or ended at once.
        CommandError: The OCI runtime refused it.
    """
    binary = ctx.settings.catatonit_path
    if binary is None:
        raise UnavailableError("cannot share the process namespace of a pod: catatonit is not installed")
    paths = ctx.paths.sandbox(sandbox_id)
    spec = build_holder_spec(
        rootfs=paths.holder / "rootfs",
        binary=binary,
        view=replace(view, pid_path=None),
        cgroup_path=f"{ctx.paths.pod_cgroup(config)}/{sandbox_id}",
        cgroup_version=ctx.host.cgroup_version,
    )
    pid_file = paths.holder / "pid"
    await asyncio.to_thread(_write_bundle, paths.holder, spec)
    argv = build_argv(
        ctx.settings.runtime(config.runtime_handler),
        ctx.paths,
        "run",
        "--detach",
        "--bundle",
        str(paths.holder),
        "--pid-file",
        str(pid_file),
        sandbox_id,
    )
    # Its standard files outlive the command: none of our pipes.
    with Descriptors() as fds:
        empty = fds.own(await asyncio.to_thread(open_empty_file))
        process = await spawn.start(argv, stdin=empty, stdout=empty, stderr=empty)
        returncode = await process.wait()
    if returncode != 0:
        # Once more with its words collected; the first try has left nothing.
        completed = await spawn.run(argv, check=False)
        if completed.returncode != 0:
            said = completed.stderr.decode(errors="replace").strip()
            raise UnavailableError(f"cannot start the process namespace's first process: {said}")
    return await asyncio.to_thread(_pin, pid_file, paths.pid_namespace)


async def stop_holder(ctx: RuntimeContext, sandbox_id: SandboxId, config: PodSandboxConfig) -> None:
    """End it and, with it, all processes of the namespace.  Idempotent."""
    if not ctx.host.cgroup_version:
        runtime = ctx.settings.runtime(config.runtime_handler)
        await spawn.run(build_argv(runtime, ctx.paths, "delete", "--force", sandbox_id), check=False)
    cgroup_path = f"{ctx.paths.pod_cgroup(config)}/{sandbox_id}"
    await asyncio.to_thread(remove_runtime_traces, ctx.paths, sandbox_id, cgroup_path)
    await asyncio.to_thread(mount.unmount, ctx.paths.sandbox(sandbox_id).pid_namespace)


def _write_bundle(bundle: Path, spec: dict[str, object]) -> None:
    rootfs = bundle / "rootfs"
    rootfs.mkdir(parents=True, exist_ok=True)
    for name in ("proc", "dev", "sys"):
        (rootfs / name).mkdir(exist_ok=True)
    (rootfs / "catatonit").touch(mode=0o555)
    (bundle / "config.json").write_bytes(msgspec.json.encode(spec))


def _pin(pid_file: Path, target: Path) -> ProcessId:
    pid = int(pid_file.read_text())
    identity = identify(pid)
    if identity is None:
        raise UnavailableError("cannot share the process namespace of a pod: its first process ended at once")
    target.touch(mode=0o444)
    mount.bind_mount(Path(f"/proc/{pid}/ns/pid"), target, recursive=False)
    return identity
