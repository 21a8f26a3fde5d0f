"""A real runtime on busybox: real overlay, crun, conmon and cgroups; image store and network are fakes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from podhost.aiokit.clock import SystemClock
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.images import Image, ImageConfig, RootfsMount
from podhost.cri.network import PodNetworkStatus
from podhost.cri.runtime import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    PodSandboxConfig,
    PodSandboxStatus,
    PortMapping,
)
from podhost.cri.stats import DiskUsage
from podhost.linux import cgroup, mount, syscalls
from podhost.linux.fs import measure_tree, remove_tree
from podhost.runtime import OciRuntimeService, RuntimeSettings
from podhost.runtime.oci_runtime import remove_empty_cgroup

BUSYBOX = Path("/bin/busybox")
APPLETS = "sh sleep cat ls true false echo id mount ps kill stty setsid env head dd tr hostname grep seq wc test tail readlink"
IMAGE_ID = ImageId("sha256:" + "b" * 64)


@pytest.fixture(scope="session", autouse=True)
def _daemon_mount_namespace() -> Iterator[None]:
    """As the daemon: a mount namespace of its own, without the hybrid host's unified hierarchy, which crun refuses."""
    if os.geteuid() != 0 or shutil.which("crun") is None or shutil.which("conmon") is None or not BUSYBOX.exists():
        pytest.skip("needs root, crun, conmon and a static busybox")
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mount.make_slave(Path("/"))
    unified = Path("/sys/fs/cgroup/unified")
    if mount.is_mount_point(unified):
        mount.unmount(unified)
    cgroup.detect.cache_clear()
    yield
    syscalls.setns(before, syscalls.CLONE_NEWNS)
    os.close(before)
    cgroup.detect.cache_clear()


@pytest.fixture(scope="session")
def image_root() -> Iterator[Path]:
    """A tiny root file system: one static busybox."""
    root = Path(tempfile.mkdtemp(prefix="podhost-rt-image-"))
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "data"):
        (root / name).mkdir()
    root.chmod(0o755)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:102:\nextra:x:200:web\n")
    (root / "bin/plain").write_text("no program")
    yield root
    shutil.rmtree(root)


@dataclass
class FakeSnapshotter:
    lower: Path
    root: Path

    async def prepare(self, container_id: ContainerId, image_id: ImageId) -> RootfsMount:
        upper, work = self.root / container_id / "upper", self.root / container_id / "work"
        await asyncio.to_thread(upper.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(work.mkdir, exist_ok=True)
        return RootfsMount(lower_dirs=(self.lower,), upper_dir=upper, work_dir=work)

    async def remove(self, container_id: ContainerId) -> None:
        await asyncio.to_thread(remove_tree, self.root / container_id)

    async def measure(self, container_id: ContainerId) -> DiskUsage:
        use = await asyncio.to_thread(measure_tree, self.root / container_id / "upper")
        return DiskUsage(used_bytes=use.allocated_bytes, inodes=use.inodes)

    async def list_keys(self) -> set[ContainerId]:
        return {ContainerId(name) for name in os.listdir(self.root)}


@dataclass
class FakeNetwork:
    attached: set[SandboxId] = field(default_factory=set)

    async def attach(
        self, sandbox_id: SandboxId, netns: Path, port_mappings: tuple[PortMapping, ...] = ()
    ) -> PodNetworkStatus:
        assert await asyncio.to_thread(mount.is_mount_point, netns)
        self.attached.add(sandbox_id)
        return PodNetworkStatus(ips=("10.11.12.13",), gateway="10.11.12.1")

    async def detach(self, sandbox_id: SandboxId) -> None:
        self.attached.discard(sandbox_id)

    async def recover(self, live: set[SandboxId]) -> None:
        self.attached &= live


@dataclass
class Machine:
    """A runtime with what it stands on; ``restart`` is a new daemon on the same files."""

    settings: RuntimeSettings
    snapshotter: FakeSnapshotter
    network: FakeNetwork
    image: Image
    logs: Path
    service: OciRuntimeService = field(init=False)

    def __post_init__(self) -> None:
        self.service = self.new_service()

    def new_service(self) -> OciRuntimeService:
        return OciRuntimeService(
            self.settings,
            snapshotter=self.snapshotter,
            find_image=lambda ref: self.image if ref == IMAGE_ID else None,
            network=self.network,
            clock=SystemClock(),
        )

    async def restart(self) -> OciRuntimeService:
        await self.service.close()
        self.service = self.new_service()
        await self.service.recover()
        return self.service

    def sandbox_config(self, **changes: Any) -> PodSandboxConfig:
        given: dict[str, Any] = {
            "namespace": "default",
            "name": "pod1",
            "uid": PodUID(str(uuid.uuid4())),
            "hostname": "pod1",
            "log_directory": self.logs,
        }
        return PodSandboxConfig(**(given | changes))

    def container_config(self, *command: str, **changes: Any) -> ContainerConfig:
        given: dict[str, Any] = {
            "name": "main",
            "attempt": 0,
            "image_id": IMAGE_ID,
            "image_ref": "busybox",
            "command": command,
            "log_path": self.logs / "main" / f"{uuid.uuid4().hex[:6]}.log",
        }
        return ContainerConfig(**(given | changes))

    async def sandbox(self, **changes: Any) -> PodSandboxStatus:
        return await self.service.run_pod_sandbox(self.sandbox_config(**changes))

    async def start(self, sandbox: PodSandboxStatus, *command: str, **changes: Any) -> ContainerId:
        container_id = await self.service.create_container(sandbox.id, self.container_config(*command, **changes))
        await self.service.start_container(container_id)
        return container_id

    def kill(self, container_id: ContainerId) -> None:
        """SIGKILL to its first process, from outside."""
        pid = self.service.container_status(container_id).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def wait_exited(self, container_id: ContainerId) -> ContainerStatus:
        changed = asyncio.Event()
        undo = self.service.subscribe(lambda _: changed.set())
        try:
            async with asyncio.timeout(20):
                while (status := self.service.container_status(container_id)).state is not ContainerState.EXITED:
                    changed.clear()
                    await changed.wait()
        finally:
            undo()
        return status

    async def output(self, container_id: ContainerId) -> str:
        """What a finished container has printed."""
        status = await self.wait_exited(container_id)
        return "".join(line.split(" ", 3)[3] for line in status.log_path.read_text().splitlines(keepends=True))

    async def run(self, sandbox: PodSandboxStatus, *command: str, **changes: Any) -> str:
        return await self.output(await self.start(sandbox, *command, **changes))

    def leftovers(self) -> list[str]:
        """Traces in files, mounts, cgroups and processes; empty when all is removed."""
        run_dir = str(self.settings.run_dir)
        found = [str(info.mount_point) for info in mount.mounts() if str(info.mount_point).startswith(run_dir)]
        for name in ("sandboxes", "containers", "oci", "exits", "execs"):
            found += [str(path) for path in (self.settings.run_dir / name).iterdir()]
        for name in ("sandboxes", "containers"):
            found += [str(path) for path in (self.settings.data_dir / name).iterdir()]
        found += [str(path) for path in self.snapshotter.root.iterdir()]
        shadow = Path("/sys/fs/cgroup/unified") / self.settings.cgroup_parent[1:]
        for directory in (*cgroup.detect().directories(self.settings.cgroup_parent), shadow):
            found += [str(path) for path in directory.glob("**/pod*") if path.is_dir()]
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = process.read_bytes()
            except OSError:
                continue
            if b"conmon" in text and run_dir.encode() in text:
                found.append(text.replace(b"\0", b" ").decode())
        return found + sorted(self.network.attached)


@pytest.fixture(params=["crun"])
async def machine(request: pytest.FixtureRequest, image_root: Path) -> AsyncIterator[Machine]:
    """Nothing of it is left behind, and a test that leaves something fails."""
    base = Path(tempfile.mkdtemp(prefix="podhost-rt-"))
    (base / "snapshots").mkdir()
    settings = RuntimeSettings(
        instance=base.name,
        data_dir=base / "data",
        run_dir=base / "run",
        cgroup_parent=f"/podhost-test/{base.name}",
        crun_path=Path("/usr/bin/crun") if request.param == "crun" else None,
        runc_path=Path("/usr/bin/runc"),
        catatonit_path=Path("/usr/bin/catatonit") if Path("/usr/bin/catatonit").exists() else None,
    )
    image = Image(
        id=IMAGE_ID,
        repo_tags=("docker.io/library/busybox:latest",),
        repo_digests=(),
        size_bytes=1,
        created_at="",
        architecture="amd64",
        os="linux",
        config=ImageConfig(env=("PATH=/bin", "FROM_IMAGE=1"), cmd=("sleep", "1000")),
    )
    machine = Machine(
        settings=settings,
        snapshotter=FakeSnapshotter(image_root, base / "snapshots"),
        network=FakeNetwork(),
        image=image,
        logs=base / "logs",
    )
    await machine.service.recover()
    yield machine
    for sandbox in machine.service.list_pod_sandboxes():
        await machine.service.remove_pod_sandbox(sandbox.id)
    leftovers = machine.leftovers()
    await machine.service.close()
    await asyncio.to_thread(_remove_all, machine)
    assert leftovers == []


def _remove_all(machine: Machine) -> None:
    base = machine.settings.run_dir.parent
    cgroup.kill(machine.settings.cgroup_parent)
    cgroup.remove(machine.settings.cgroup_parent)
    remove_tree(Path("/sys/fs/cgroup/unified/podhost-test") / base.name)
    remove_empty_cgroup("/podhost-test")
    mount.unmount_tree(base)
    remove_tree(base)
