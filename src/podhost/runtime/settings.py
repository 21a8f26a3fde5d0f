"""What the runtime is told about its instance and the host's programs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from podhost.api.qos import QosClass
from podhost.cri.ids import ContainerId, PodUID, SandboxId
from podhost.cri.runtime import PodSandboxConfig
from podhost.errors import UnavailableError
from podhost.linux.bare_mounts import HiddenMounts

_QOS_DIRECTORIES: Mapping[QosClass, str] = {"Guaranteed": "", "Burstable": "/burstable", "BestEffort": "/besteffort"}


@dataclass(frozen=True, slots=True)
class OciRuntime:
    """A program that creates containers."""

    path: Path

    @property
    def kind(self) -> Literal["crun", "runc"]:
        """Whose conventions it has: crun's (or one that calls itself so), else runc's, as youki and runsc do."""
        return "crun" if "crun" in self.path.name else "runc"

    def read_identity(self) -> str:
        """Changes when the program does.  Blocking; raises OSError."""
        binary = self.path.stat()
        return f"{self.path}:{binary.st_size}:{binary.st_mtime_ns}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Paths and names of one instance.

    ``data_dir`` survives a reboot (records of what happened, compiled seccomp filters); ``run_dir`` survives
    the daemon only (bundles, pinned namespaces, exit files).  Both are the runtime's own and made if absent.
    """

    instance: str
    data_dir: Path
    run_dir: Path
    cgroup_parent: str
    """``/podhost/<instance>``; pods and monitors get their cgroups below it."""
    crun_path: Path | None = None
    runc_path: Path | None = None
    conmon_path: Path = Path("/usr/bin/conmon")
    catatonit_path: Path | None = None
    """Static init; only pods with ``shareProcessNamespace`` need it."""
    apparmor_parser_path: Path | None = None
    """Loads AppArmor's default profile; without it containers have none."""
    create_timeout_s: float = 120.0
    exec_drain_s: float = 0.5
    """How long output of an exec is still read when its process has exited but something holds the pipe."""

    pod_directories: tuple[Path, ...] = ()
    """Below these all is mounted that pods need; commands in containers are started where it does not show."""
    handlers: Mapping[str, Path] = field(default_factory=dict)
    """More OCI runtimes, by the name that a RuntimeClass has for them; ``crun`` and ``runc`` may be replaced."""

    def all_handlers(self) -> dict[str, OciRuntime]:
        """What a RuntimeClass can name, and what ``""`` stands for: crun, else runc."""
        installed = {"crun": self.crun_path, "runc": self.runc_path}
        paths = {name: path for name, path in installed.items() if path is not None}
        found = {name: OciRuntime(path) for name, path in {**paths, **self.handlers}.items()}
        default = self.crun_path or self.runc_path
        return {"": OciRuntime(default), **found} if default is not None else found

    def list_hidden_mounts(self, paths: RuntimePaths) -> HiddenMounts:
        """What does not show where commands in containers are started: all but the runtimes and their state."""
        programs = [runtime.path for runtime in self.all_handlers().values()]
        return HiddenMounts(self.pod_directories, [paths.oci_root, paths.execs, *programs])

    def runtime(self, handler: str = "") -> OciRuntime:
        """The OCI runtime of a handler.

        Raises:
            UnavailableError: There is none, with containerd's words for an unknown handler.
        """
        found = self.all_handlers().get(handler)
        if found is not None:
            return found
        if handler:
            raise UnavailableError(f'no runtime for "{handler}" is configured')
        raise UnavailableError("cannot run containers: neither crun nor runc is installed")


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """Where everything lies."""

    data_dir: Path
    run_dir: Path
    cgroup_parent: str

    @property
    def sandbox_records(self) -> Path:
        return self.data_dir / "sandboxes"

    @property
    def container_records(self) -> Path:
        return self.data_dir / "containers"

    @property
    def seccomp_cache(self) -> Path:
        return self.data_dir / "seccomp"

    @property
    def oci_root(self) -> Path:
        return self.run_dir / "oci"

    @property
    def exits(self) -> Path:
        return self.run_dir / "exits"

    @property
    def execs(self) -> Path:
        return self.run_dir / "execs"

    @property
    def sandboxes(self) -> Path:
        return self.run_dir / "sandboxes"

    @property
    def bundles(self) -> Path:
        return self.run_dir / "containers"

    def all_directories(self) -> tuple[Path, ...]:
        return (
            self.sandbox_records,
            self.container_records,
            self.seccomp_cache,
            self.oci_root,
            self.exits,
            self.execs,
            self.sandboxes,
            self.bundles,
        )

    def sandbox(self, sandbox_id: SandboxId) -> SandboxPaths:
        return SandboxPaths(self.sandboxes / sandbox_id)

    def bundle(self, container_id: ContainerId) -> BundlePaths:
        return BundlePaths(self.bundles / container_id)

    def oci_state(self, oci_id: str) -> Path:
        """State directory of the OCI runtime for one container."""
        return self.oci_root / oci_id

    def exit_file(self, container_id: ContainerId) -> Path:
        return self.exits / container_id

    def qos_cgroup(self, qos_class: QosClass) -> str:
        """Above the pods of a class: the instance's own for Guaranteed ones, as on a node."""
        return self.cgroup_parent + _QOS_DIRECTORIES[qos_class]

    def pod_cgroup(self, config: PodSandboxConfig) -> str:
        return f"{self.qos_cgroup(config.qos_class)}/{pod_cgroup_name(config.uid)}"

    @property
    def monitor_cgroup(self) -> str:
        """conmon's cgroup: not the daemon's, so that it does not die with it; a leaf, as v2 wants."""
        return f"{self.cgroup_parent}/monitors"


def pod_cgroup_name(uid: PodUID) -> str:
    """Name of a pod's cgroup.  A uid that is no plain name (static pods may choose theirs) is hashed."""
    if uid and len(uid) <= 128 and all(char.isalnum() or char in "-_." for char in uid):
        return f"pod{uid}"
    return f"pod{hashlib.sha256(uid.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    root: Path

    @property
    def namespaces(self) -> Path:
        return self.root / "ns"

    @property
    def shm(self) -> Path:
        return self.root / "shm"

    @property
    def mqueue(self) -> Path:
        return self.root / "mqueue"

    @property
    def hosts(self) -> Path:
        return self.root / "hosts"

    @property
    def hostname(self) -> Path:
        return self.root / "hostname"

    @property
    def resolv_conf(self) -> Path:
        return self.root / "resolv.conf"

    @property
    def holder(self) -> Path:
        """Bundle of the PID namespace's first process."""
        return self.root / "holder"

    @property
    def pid_namespace(self) -> Path:
        return self.root / "pidns"


@dataclass(frozen=True, slots=True)
class BundlePaths:
    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def rootfs(self) -> Path:
        return self.root / "rootfs"

    @property
    def mapped(self) -> Path:
        """Mounts that show a pod's user namespace owners of its own: layers while they are needed, and volumes."""
        return self.root / "mapped"

    @property
    def pid_file(self) -> Path:
        return self.root / "pid"

    @property
    def pid_namespace(self) -> Path:
        """That of another container, pinned while this one joins it."""
        return self.root / "pidns"

    @property
    def conmon_pid_file(self) -> Path:
        return self.root / "conmon.pid"

    @property
    def persist(self) -> Path:
        return self.root / "persist"

    @property
    def control(self) -> Path:
        """conmon's control fifo: terminal size, log reopen."""
        return self.root / "ctl"

    @property
    def attach_socket(self) -> Path:
        return self.root / "attach"

    @property
    def oom_file(self) -> Path:
        return self.root / "oom"
