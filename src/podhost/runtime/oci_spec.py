"""OCI runtime specs, as pure functions of what is known about container, image, sandbox and host.

Default mounts, devices and read-only paths equal containerd's, masked ones those that the kubelet asks it for.
A pod's annotations never reach the spec: ``run.oci.*`` from a user would be a way to root.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podhost.cri.images import ImageConfig
from podhost.cri.runtime import ContainerConfig, ContainerStartError, LinuxResources, Mount
from podhost.linux.cgroup import cpu_weight
from podhost.linux.huge_pages import format_page_size
from podhost.linux.user_namespaces import ID_COUNT
from podhost.runtime.host_facts import HostFacts
from podhost.runtime.selinux import Labels
from podhost.runtime.users import ResolvedUser

OCI_VERSION = "1.0.2"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxView:
    """What a container sees of its sandbox.  A namespace without a path is the host's, ``pid`` aside."""

    user_path: Path | None = None
    first_host_id: int = 0
    """Of the user namespace at ``user_path``."""
    network_path: Path | None = None
    ipc_path: Path | None = None
    uts_path: Path | None = None
    pid_path: Path | None = None
    host_pid: bool = False
    hostname: str = ""
    hosts: Path
    hostname_file: Path
    resolv_conf: Path
    shm: Path
    mqueue: Path | None = None
    """The pod's mqueue mount; without one the container mounts that of its IPC namespace itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecInput:
    """All that a container's spec is made of."""

    config: ContainerConfig
    image: ImageConfig
    user: ResolvedUser
    rootfs: Path
    cgroup_path: str
    sandbox: SandboxView
    host: HostFacts
    capabilities: tuple[str, ...]
    seccomp: Mapping[str, Any] | None = None
    apparmor_profile: str = ""
    """Name of a loaded profile; empty for none."""
    labels: Labels = field(default_factory=Labels)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_devices: Sequence[Mapping[str, Any]] = ()


def build_container_spec(given: SpecInput) -> dict[str, Any]:
    """The runtime spec of a container.

    Raises:
        ContainerStartError: There is no command to run.
    """
    privileged = given.config.security.privileged
    linux: dict[str, Any] = {
        "cgroupsPath": given.cgroup_path,
        "namespaces": build_namespaces(given.sandbox, cgroup_version=given.host.cgroup_version, privileged=privileged),
        "resources": build_resources(given.config.resources, given.host, privileged=privileged),
    }
    linux |= build_id_mappings(given.sandbox)
    if privileged:
        linux["devices"] = list(given.host_devices)
    elif not given.config.security.unmasked_proc:
        linux["maskedPaths"] = [*MASKED_PATHS, *given.host.thermal_paths]
        linux["readonlyPaths"] = READONLY_PATHS
    if given.seccomp is not None:
        linux["seccomp"] = given.seccomp
    if given.labels.mount:
        linux["mountLabel"] = given.labels.mount
    if propagation := compute_rootfs_propagation(given.config.mounts):
        linux["rootfsPropagation"] = propagation
    return {
        "ociVersion": OCI_VERSION,
        "process": build_process(given),
        "root": {"path": str(given.rootfs), "readonly": given.config.security.read_only_rootfs},
        "mounts": build_mounts(given),
        "linux": linux,
        "annotations": dict(given.annotations),
    }


def build_process(given: SpecInput) -> dict[str, Any]:
    """``process`` of the spec; an exec takes it too, with other args."""
    config, user = given.config, given.user
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids},
        "args": check_strings("arguments", compute_args(config, given.image)),
        "env": check_strings(
            "environment", compute_environment(config, given.image, hostname=given.sandbox.hostname, home=user.home)
        ),
        "cwd": config.working_dir or given.image.working_dir or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), given.capabilities),
        "noNewPrivileges": config.security.no_new_privileges,
    }
    score = compute_oom_score_adj(config.resources, given.host)
    if score is not None:
        process["oomScoreAdj"] = score
    if given.apparmor_profile:
        process["apparmorProfile"] = given.apparmor_profile
    if given.labels.process:
        process["selinuxLabel"] = given.labels.process
    return process


def compute_args(config: ContainerConfig, image: ImageConfig) -> tuple[str, ...]:
    """Kubernetes' table of command, args, entrypoint and cmd.

    Raises:
        ContainerStartError: Nothing is left to run.
    """
    replaced = (*config.command, *config.args) if config.command else None
    args = replaced or (*image.entrypoint, *(config.args or image.cmd))
    if not args:
        raise ContainerStartError("no command specified", reason="CreateContainerError")
    return args


def compute_environment(config: ContainerConfig, image: ImageConfig, *, hostname: str, home: str) -> list[str]:
    """Image's variables, ``HOSTNAME``, then the pod's; a later one replaces an earlier one in its place."""
    variables: dict[str, str] = {"PATH": DEFAULT_PATH}
    if config.tty:
        variables["TERM"] = "xterm"
    variables["HOSTNAME"] = hostname
    for item in image.env:
        name, _, value = item.partition("=")
        variables[name] = value
    variables.update(config.env)
    variables.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in variables.items()]


def check_strings(what: str, strings: Iterable[str]) -> list[str]:
    """Those of a process, which cannot hold a zero byte: crun would cut them off there.

    Raises:
        ContainerStartError: One has it.
    """
    checked = list(strings)
    bad = next((each for each in checked if "\0" in each), None)
    if bad is not None:
        raise ContainerStartError(f"nul byte in the {what}: {bad!r}", reason="CreateContainerError")
    return checked


def compute_oom_score_adj(resources: LinuxResources, host: HostFacts) -> int | None:
    """The wanted value where the kernel permits it: lowering one's own needs CAP_SYS_RESOURCE."""
    wanted = resources.oom_score_adj
    if wanted is None or (wanted < host.oom_score_adj and "CAP_SYS_RESOURCE" not in host.capabilities):
        return None
    return wanted


def build_namespaces(view: SandboxView, *, cgroup_version: int, privileged: bool) -> list[dict[str, str]]:
    """``linux.namespaces``: the sandbox's by path, mount (and on v2 cgroup) of the container's own."""
    namespaces: list[dict[str, str]] = [{"type": "mount"}]
    if view.user_path is not None:
        namespaces.append({"type": "user", "path": str(view.user_path)})
    for kind, path in (("network", view.network_path), ("ipc", view.ipc_path), ("uts", view.uts_path)):
        if path is not None:
            namespaces.append({"type": kind, "path": str(path)})
    if view.pid_path is not None:
        namespaces.append({"type": "pid", "path": str(view.pid_path)})
    elif not view.host_pid:
        namespaces.append({"type": "pid"})
    if cgroup_version == 2 and not privileged:
        namespaces.append({"type": "cgroup"})
    return namespaces


def build_id_mappings(view: SandboxView) -> dict[str, Any]:
    """``uidMappings`` and ``gidMappings`` of the user namespace, if the pod has one."""
    if view.user_path is None:
        return {}
    mapping = [{"containerID": 0, "hostID": view.first_host_id, "size": ID_COUNT}]
    return {"uidMappings": mapping, "gidMappings": mapping}


def build_resources(resources: LinuxResources, host: HostFacts, *, privileged: bool) -> dict[str, Any]:
    """``linux.resources``; devices other than the runtime's defaults are denied unless privileged.

    Limits whose controller the host does not give are left out: the OCI runtimes would refuse the container.
    """
    result: dict[str, Any] = {"devices": [{"allow": privileged, "access": "rwm"}]}
    cpu = {
        "shares": resources.cpu_shares,
        "quota": resources.cpu_quota_us,
        "period": resources.cpu_period_us,
    }
    if "cpu" in host.controllers and any(value is not None for value in cpu.values()):
        result["cpu"] = {name: value for name, value in cpu.items() if value is not None}
    if "memory" in host.controllers and resources.memory_limit_bytes:
        result["memory"] = {"limit": resources.memory_limit_bytes}
        if host.can_limit_swap:
            result["memory"]["swap"] = resources.memory_limit_bytes  # both together: no swap
    if "pids" in host.controllers and resources.pids_limit:
        result["pids"] = {"limit": resources.pids_limit}
    if "hugetlb" in host.controllers and host.huge_page_sizes:
        wanted = dict(resources.huge_page_limits)
        result["hugepageLimits"] = [
            {"pageSize": format_page_size(size), "limit": wanted.get(size, 0)} for size in host.huge_page_sizes
        ]
    if host.cgroup_version == 2 and (unified := _build_unified(resources, host)):
        result["unified"] = unified
    return result


def _build_unified(resources: LinuxResources, host: HostFacts) -> dict[str, str]:
    """What version 2 has no older word for.  It goes before the rest."""
    unified = {}
    if "memory" in host.controllers:
        # singleProcessOOMKill is off: a container out of memory dies whole, not one of its processes.
        unified["memory.oom.group"] = "1"
        if host.can_limit_swap:
            # swapBehavior is NoSwap, also for those without a limit.
            unified["memory.swap.max"] = "0"
    if "cpu" in host.controllers and resources.cpu_shares is not None:
        # OCI runtimes of before 2025 convert shares in another way.
        unified["cpu.weight"] = str(cpu_weight(resources.cpu_shares))
    return unified


def compute_rootfs_propagation(mounts: Sequence[Mount]) -> str | None:
    """What the container's root must be for its mounts to propagate."""
    kinds = {mount.propagation for mount in mounts}
    return next((kind for kind in ("rshared", "rslave") if kind in kinds), None)


def find_propagation_obstacle(mounts: Sequence[Mount]) -> str | None:
    """containerd's word on a mount of the host that cannot propagate as it is asked to; ``None`` when all can."""
    for each in mounts:
        origin = each.origin
        if origin is None or each.propagation == "private" or origin.is_shared:
            continue
        where = f'path "{origin.path}" is mounted on "{origin.mount_point}"'
        if each.propagation == "rshared":
            return f"{where} but it is not a shared mount"
        if not origin.is_slave:
            return f"{where} but it is not a shared or slave mount"
    return None


def build_mounts(given: SpecInput) -> list[dict[str, Any]]:
    """Defaults, the pod's files and the container's own; one of its own replaces a default.

    One at ``/dev`` replaces also what the defaults have below it, but for the pod's shared memory.
    By depth, so that none hides one below it: a volume at ``/etc`` leaves the pod's ``/etc/hosts`` visible.
    """
    privileged = given.config.security.privileged
    defaults = build_default_mounts(given.sandbox, given.host, privileged=privileged)
    allow_devices = privileged or given.host.limits_devices
    own = [_build_bind(mount, allow_devices=allow_devices) for mount in given.config.mounts]
    taken = {_normal(mount["destination"]) for mount in own}
    if "/dev" in taken:
        taken |= {"/dev/pts", "/dev/mqueue"}
    kept = [mount for mount in (*defaults, *_build_pod_files(given)) if mount["destination"] not in taken]
    return sorted([*kept, *own], key=lambda mount: _normal(mount["destination"]).count("/"))


def build_default_mounts(view: SandboxView, host: HostFacts, *, privileged: bool) -> list[dict[str, Any]]:
    """/proc, /dev, /sys and what is below them."""
    safe = ["nosuid", "noexec", "nodev"]
    sysfs = "rw" if privileged else "ro"
    mqueue: dict[str, Any] = {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": safe}
    if view.mqueue is not None:
        mqueue |= {"type": "bind", "source": str(view.mqueue), "options": ["rbind", "rprivate", *safe]}
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": safe},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        mqueue,
        {
            "destination": "/dev/shm",
            "type": "bind",
            "source": str(view.shm),
            "options": ["rbind", "rprivate", *safe, "rw"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*safe, sysfs]},
        *([_build_cgroup_mount(host, privileged=privileged)] if host.cgroup_version else []),
    ]


def _build_cgroup_mount(host: HostFacts, *, privileged: bool) -> dict[str, Any]:
    place, options = "/sys/fs/cgroup", ["nosuid", "noexec", "nodev", "relatime", "rw" if privileged else "ro"]
    if privileged and host.cgroup_version == 2:
        # Without a namespace of its own a new mount is the host's file system, and would take its options
        # (nsdelegate, memory_recursiveprot) away from the whole machine.
        return {"destination": place, "type": "bind", "source": place, "options": ["rbind", "rprivate", *options]}
    return {"destination": place, "type": "cgroup", "source": "cgroup", "options": options}


def _build_pod_files(given: SpecInput) -> list[dict[str, Any]]:
    view, access = given.sandbox, "ro" if given.config.security.read_only_rootfs else "rw"
    return [
        {"destination": path, "type": "bind", "source": str(source), "options": ["rbind", "rprivate", access]}
        for path, source in (
            ("/etc/hosts", view.hosts),
            ("/etc/hostname", view.hostname_file),
            ("/etc/resolv.conf", view.resolv_conf),
        )
    ]


def _build_bind(mount: Mount, *, allow_devices: bool) -> dict[str, Any]:
    propagation = "rprivate" if mount.propagation == "private" else mount.propagation
    access = "ro" if mount.read_only else "rw"
    options = ["rbind", propagation, access]
    if mount.read_only and mount.recursive_read_only:
        options.append("rro")
    if mount.no_exec:
        options += ["noexec", "nosuid", "nodev"]
    options += mount.options
    if not allow_devices:
        options.append("nodev")
    return {
        "destination": _normal(mount.container_path),
        "type": "bind",
        "source": str(mount.host_path),
        "options": list(dict.fromkeys(options)),
    }


def _normal(path: str) -> str:
    """``..`` ends at the container's root; the OCI runtimes see to that again when they follow its links."""
    return posixpath.normpath("/" + path.lstrip("/"))


def build_holder_spec(
    *, rootfs: Path, binary: Path, view: SandboxView, cgroup_path: str, cgroup_version: int
) -> dict[str, Any]:
    """The first process of a shared PID namespace: a static init that only reaps, with no rights at all."""
    namespaces = build_namespaces(view, cgroup_version=cgroup_version, privileged=False)
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/catatonit", "-P"],
            "env": [f"PATH={DEFAULT_PATH}"],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": [
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                # Its root may be where devices do not work (systemd mounts /run so), and runc opens /dev/null.
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "noexec", "mode=755", "size=64k"],
            },
            {
                "destination": "/catatonit",
                "type": "bind",
                "source": str(binary),
                "options": ["bind", "ro", "nosuid", "nodev"],
            },
        ],
        "linux": {
            "cgroupsPath": cgroup_path,
            "namespaces": namespaces,
            **build_id_mappings(view),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READONLY_PATHS,
        },
    }
