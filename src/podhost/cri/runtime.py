"""RuntimeService: pod sandboxes and containers (CRI v1 ``runtime.v1.RuntimeService``).

Every verb is idempotent where CRI says so: stopping what is stopped and removing what is gone succeed.
Errors are of :mod:`podhost.errors`: ``NotFoundError`` for an unknown id, ``ContainerStartError`` when the
OCI runtime refuses a container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from podhost.api.qos import QosClass
from podhost.cri.ids import ContainerId, ImageId, PodUID, SandboxId
from podhost.cri.stats import ContainerStats, DiskUsage, PodSandboxStats
from podhost.errors import PodhostError


class ContainerStartError(PodhostError):
    """The OCI runtime refused to create or start a container.

    ``reason`` is the kubelet's, ``StartError`` or ``ContainerCannotRun``; ``exit_code`` is what a kubelet on
    containerd reports for it, whatever the cause.
    """

    def __init__(self, message: str, *, reason: str = "StartError", exit_code: int = 128) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """Content of a pod's ``/etc/resolv.conf``."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAlias:
    """One extra line of a pod's ``/etc/hosts``."""

    ip: str
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A hostPort of a container."""

    protocol: Literal["TCP", "UDP", "SCTP"]
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinuxResources:
    """cgroup values, already converted from requests and limits.

    ``None`` means: leave the default.  -1 takes a quota or a limit away.
    """

    cpu_shares: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    memory_limit_bytes: int | None = None
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    huge_page_limits: tuple[tuple[int, int], ...] = ()
    """(size of a page, bytes of such pages); of sizes that are not named a container gets none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandboxConfig:
    """What the containers of one pod share."""

    namespace: str
    name: str
    uid: PodUID
    attempt: int = 0
    hostname: str
    fqdn: str = ""
    """Fully qualified name for ``/etc/hosts``; empty without a subdomain."""
    short_hostname: str = ""
    """The name without its domain for ``/etc/hosts``, where ``hostname`` is the fully qualified one."""
    dns: DnsConfig = field(default_factory=DnsConfig)
    host_aliases: tuple[HostAlias, ...] = ()
    port_mappings: tuple[PortMapping, ...] = ()
    log_directory: Path
    """Directory that holds one directory of log files for each container; made by the kubelet."""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process_namespace: bool = False
    first_host_id: int = 0
    """Where ids of the pod's own user namespace begin on the host; 0: it is in the host's."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    shm_size_bytes: int = 64 << 20
    resources: LinuxResources = LinuxResources()
    """Of the pod's cgroup, above those of its containers."""
    qos_class: QosClass = "Guaranteed"
    """Where the pod's cgroup is.  Records of before there were classes have none: there all were in one place."""
    runtime_handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class SandboxState(Enum):
    READY = "SANDBOX_READY"
    NOTREADY = "SANDBOX_NOTREADY"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandboxStatus:
    """Observed state of a sandbox."""

    id: SandboxId
    namespace: str
    name: str
    uid: PodUID
    attempt: int
    state: SandboxState
    created_at_ns: int
    ips: tuple[str, ...] = ()
    netns_path: Path | None = None
    host_network: bool = False
    resources: LinuxResources = LinuxResources()
    """Of the pod's cgroup, as set last."""
    first_host_id: int = 0
    """Of its user namespace; 0: the host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOrigin:
    """The place on the host that a mount is a clone of.  Only mounts that are shared there can propagate."""

    path: Path
    """Without symlinks."""
    mount_point: Path
    """Of the mount that ``path`` lies on."""
    is_shared: bool
    is_slave: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One bind mount into a container.  ``host_path`` is valid in the daemon's mount namespace."""

    container_path: str
    host_path: Path
    read_only: bool = False
    recursive_read_only: bool = False
    no_exec: bool = False
    options: tuple[str, ...] = ()
    """More of the mount: ``noexec``, ``nodev``, ``nosuid``."""
    propagation: Literal["private", "rslave", "rshared"] = "private"
    origin: MountOrigin | None = None
    """Of a clone of what the host has."""
    relabel: bool = False
    """The files are the pod's, so that they get its SELinux label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelinuxOptions:
    """Parts of a label that are not the defaults; empty leaves the default."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """A container's effective security context."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    merge_image_groups: bool = True
    """Groups that the image's ``/etc/group`` gives the user are added (``supplementalGroupsPolicy: Merge``)."""
    privileged: bool = False
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    read_only_rootfs: bool = False
    no_new_privileges: bool = False
    unmasked_proc: bool = False
    """``/proc`` without masks (``procMount: Unmasked``)."""
    seccomp_profile: str = "RuntimeDefault"
    """``RuntimeDefault``, ``Unconfined``, or the absolute path of a profile on the host."""
    apparmor_profile: str = "RuntimeDefault"
    """``RuntimeDefault``, ``Unconfined``, or ``localhost/`` and the name of a profile that the host has loaded."""
    selinux: SelinuxOptions | None = None
    """``None``: the container gets no label of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """What one container is made of; names, images and variables are already resolved by the kubelet."""

    name: str
    attempt: int
    image_id: ImageId
    image_ref: str
    """The image as the user wrote it, for status."""
    command: tuple[str, ...] = ()
    """Replaces the image's entrypoint when not empty."""
    args: tuple[str, ...] = ()
    """Replaces the image's cmd when not empty (and, as in Kubernetes, when ``command`` is given)."""
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    """The pod's variables; the image's come first and are overridden."""
    mounts: tuple[Mount, ...] = ()
    log_path: Path
    """Absolute path of the CRI log file, ``…/<attempt>.log``."""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: LinuxResources = field(default_factory=LinuxResources)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    stop_signal: str = ""
    """Overrides the image's; empty leaves the image's or SIGTERM."""
    pid_target: ContainerId | None = None
    """A running container whose PID namespace this one joins (CRI's ``NamespaceMode.TARGET``)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """podhost's own facts about the container (kind: init or app, spec hash, …), persisted with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUser:
    """Who a container's first process was started as."""

    uid: int
    gid: int
    supplemental_groups: tuple[int, ...] = ()


class ContainerState(Enum):
    CREATED = "CONTAINER_CREATED"
    RUNNING = "CONTAINER_RUNNING"
    EXITED = "CONTAINER_EXITED"
    UNKNOWN = "CONTAINER_UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """Observed facts of one container.  Times are nanoseconds since the epoch, 0 when it has not happened."""

    id: ContainerId
    sandbox_id: SandboxId
    pod_uid: PodUID
    pod_namespace: str
    pod_name: str
    name: str
    attempt: int
    state: ContainerState
    image_ref: str
    image_id: ImageId
    created_at_ns: int
    started_at_ns: int = 0
    finished_at_ns: int = 0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    """``Completed``, ``Error``, ``OOMKilled``, ``StartError``, ``ContainerCannotRun``."""
    message: str = ""
    log_path: Path
    pid: int = 0
    stop_signal: str = "SIGTERM"
    resources: LinuxResources = LinuxResources()
    """As set last."""
    user: ContainerUser | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class ContainerEventType(Enum):
    CREATED = "CONTAINER_CREATED_EVENT"
    STARTED = "CONTAINER_STARTED_EVENT"
    STOPPED = "CONTAINER_STOPPED_EVENT"
    DELETED = "CONTAINER_DELETED_EVENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """Something happened to a container; a hint to look again, never the fact itself."""

    type: ContainerEventType
    container_id: ContainerId
    pod_uid: PodUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """Outcome of a command run to its end.  Output is bounded (64 KiB a stream: probes and hooks read its start)."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ExecSession(Protocol):
    """A command, or an attached container, whose streams are open."""

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """Next chunk of output; ``None`` when all output has ended."""

    async def write_stdin(self, data: bytes) -> None:
        """Hand bytes to stdin; waits while the process does not read."""

    async def close_stdin(self) -> None:
        """End of stdin."""

    async def resize(self, width: int, height: int) -> None:
        """New size of the terminal, in characters."""

    async def wait(self) -> int:
        """Exit code (128 + signal when killed).  For attach: 0 when the streams have ended."""

    async def close(self) -> None:
        """Leave.  Ends an exec's process and all its children; leaves an attached container alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeVersion:
    """What ``Version`` answers in CRI."""

    runtime_name: str
    runtime_version: str


class RuntimeService(Protocol):
    """Sandboxes and containers of one instance."""

    async def version(self) -> RuntimeVersion: ...

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> PodSandboxStatus:
        """Namespaces, network, hosts/hostname/resolv.conf, /dev/shm, mqueue.  Leaves nothing on failure."""

    async def stop_pod_sandbox(self, sandbox_id: SandboxId) -> None:
        """Kill what still runs in it and give the network back.  Idempotent."""

    async def remove_pod_sandbox(self, sandbox_id: SandboxId) -> None:
        """Remove its containers and every trace of it.  Idempotent."""

    def list_pod_sandboxes(self, pod_uid: PodUID | None = None) -> list[PodSandboxStatus]:
        """All sandboxes, or those of one pod, from memory; never blocks."""

    async def create_container(self, sandbox_id: SandboxId, config: ContainerConfig) -> ContainerId:
        """Root file system, OCI bundle, record.  Leaves nothing on failure.

        Raises:
            ContainerStartError: The command or the user does not exist in the image.
            NotFoundError: The sandbox or the image is gone.
        """

    async def start_container(self, container_id: ContainerId) -> None:
        """Run it under conmon.

        Raises:
            ContainerStartError: The OCI runtime refused it; the container is then EXITED with that reason.
        """

    async def stop_container(self, container_id: ContainerId, grace_s: float) -> None:
        """Send the stop signal, then SIGKILL when ``grace_s`` have passed; waits for the exit.  Idempotent.

        A second call with a shorter grace shortens the first.
        """

    async def remove_container(self, container_id: ContainerId) -> None:
        """Kill it if it runs, remove its file system, record and log files.  Idempotent."""

    def list_containers(self, pod_uid: PodUID | None = None) -> list[ContainerStatus]:
        """All containers, or those of one pod, from memory; never blocks."""

    def container_status(self, container_id: ContainerId) -> ContainerStatus:
        """Facts of one container, from memory.  Raises NotFoundError."""

    async def is_container_ending(self, container_id: ContainerId) -> bool:
        """Whether it has ended, was killed or is gone: asked of the kernel, which knows before the exit is recorded."""

    async def update_container_resources(self, container_id: ContainerId, resources: LinuxResources) -> None:
        """Change the limits of a running container; processes and ``oom_score_adj`` stay as they are.

        Raises:
            ConflictError: It does not run.
            PodhostError: The kernel refuses a value, or more memory is in use than the new limit.
        """

    async def update_pod_sandbox_resources(self, sandbox_id: SandboxId, resources: LinuxResources) -> None:
        """Change the limits of the pod's cgroup.  Raises PodhostError."""

    async def update_qos_resources(self, qos_class: QosClass, resources: LinuxResources) -> None:
        """Change the limits of the cgroup above all pods of a class.  Raises PodhostError."""

    async def list_writable_layers(self, pod_uid: PodUID) -> dict[ContainerId, DiskUsage]:
        """What the pod's containers have written into their root file systems."""

    def list_missing_modules(self) -> frozenset[str]:
        """Of ``AppArmor`` and ``SELinux``: what containers cannot be confined by on this host."""

    def list_unlimited_resources(self) -> frozenset[str]:
        """Of ``cpu``, ``memory`` and ``pids``: those whose limits have no effect on this host."""

    async def list_container_stats(self, pod_uids: Sequence[PodUID]) -> list[ContainerStats]:
        """What the running containers of these pods use, as of now; in no order."""

    async def list_pod_sandbox_stats(self, pod_uids: Sequence[PodUID]) -> list[PodSandboxStats]:
        """What those of these pods use as a whole that have a running container, as of now; in no order."""

    async def exec_sync(self, container_id: ContainerId, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        """Run a command to its end.

        Raises:
            TimeoutError: Then nothing of it is left running.
            PodhostError: It could not be run at all.
        """

    async def exec(
        self, container_id: ContainerId, command: tuple[str, ...], *, tty: bool, stdin: bool
    ) -> ExecSession: ...

    async def attach(self, container_id: ContainerId, *, tty: bool, stdin: bool) -> ExecSession: ...

    async def reopen_container_log(self, container_id: ContainerId) -> None:
        """Make conmon open its log file again, after the kubelet has renamed it."""

    def subscribe(self, callback: Callable[[ContainerEvent], None]) -> Callable[[], None]:
        """Call ``callback`` in the event loop at each event; returns the undo."""

    async def recover(self) -> None:
        """At start-up: adopt the living, record exits missed, clean up the rest.  Called once, before all others."""

    async def close(self) -> None:
        """Stop watching.  Containers go on."""
