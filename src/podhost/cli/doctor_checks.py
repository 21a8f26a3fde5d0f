"""The checks of ``podhost doctor``: each looks at one part of the machine and says how to mend it.

Facts come from a :class:`Machine`, so that a test can describe any machine.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found.  ``mend`` is a command or a sentence; empty when there is nothing to do."""

    name: str
    level: Level
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the checks look at."""

    distribution: str = "debian"
    euid: int = 0
    root: Path = Path("/")
    instance: str = "default"
    socket_path: Path = Path("/run/podhost/default/podhost.sock")
    data_root: Path = Path("/var/lib/podhost")
    which: Callable[[str], str | None] = field(default=lambda name: shutil.which(name, path=search_path()))
    version_of: Callable[[str], str] = field(default=lambda path: read_version(path))
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs

    def read(self, path: str) -> str:
        """Content of a file, empty when it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()


EVICTION_INODES_PERCENT = 5
"""Default threshold of the disk that images are on."""
_EVICTION_MEND = "podhost image prune, make room, or lower the thresholds: podhost serve -- --eviction-hard …"


def search_path() -> str:
    """PATH of an ordinary user has no sbin, where nft and runc are."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def read_version(path: str) -> str:
    """First version number that ``PROGRAM --version`` prints."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else ""


_INSTALL = {
    "debian": "apt-get install -y",
    "fedora": "dnf install -y",
    "arch": "pacman -S --noconfirm",
}
_FAMILY = {
    "ubuntu": "debian",
    "linuxmint": "debian",
    "raspbian": "debian",
    "pop": "debian",
    "rhel": "fedora",
    "centos": "fedora",
    "rocky": "fedora",
    "almalinux": "fedora",
    "manjaro": "arch",
    "endeavouros": "arch",
}
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "nft": {"": "nftables"},
    "apparmor_parser": {"": "apparmor-parser", "debian": "apparmor", "arch": "apparmor"},
    "conntrack": {"": "conntrack-tools", "debian": "conntrack"},
    "mmdebstrap": {"": "mmdebstrap", "arch": "debootstrap"},
}


def install_command(program: str, distribution: str) -> str:
    """The command that installs a program, for the distribution's family (Debian's where it is unknown)."""
    family = _FAMILY.get(distribution, distribution)
    names = _PACKAGES.get(program, {})
    package = names.get(family) or names.get("") or program
    return f"sudo {_INSTALL.get(family, _INSTALL['debian'])} {package}"


def read_distribution(root: Path = Path("/")) -> str:
    """``ID`` of os-release, or the first of ``ID_LIKE`` that is known."""
    try:
        text = (root / "etc/os-release").read_text()
    except OSError:
        return "debian"
    values = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    for name in [values.get("ID", ""), *values.get("ID_LIKE", "").split()]:
        if name in _INSTALL or name in _FAMILY:
            return str(name)
    return str(values.get("ID", "debian"))


# --- who ----------------------------------------------------------------------------------------------------------


def check_user(machine: Machine) -> Check:
    if machine.euid == 0:
        return Check(name="user", level="ok", detail="root")
    if os.access(machine.socket_path, os.R_OK | os.W_OK):
        return Check(name="user", level="ok", detail=f"may use {machine.socket_path}")
    if machine.socket_path.exists():
        mend = "sudo usermod -aG podhost $USER   (then log in again; being in the group is as good as root)"
        return Check(name="user", level="fail", detail=f"not root, and may not use {machine.socket_path}", mend=mend)
    mend = "run podhost with sudo, or: sudo systemctl enable --now podhost"
    return Check(name="user", level="warn", detail="not root: the daemon cannot be started by this user", mend=mend)


# --- programs -----------------------------------------------------------------------------------------------------


def check_runtime(machine: Machine) -> Check:
    crun, runc = machine.which("crun"), machine.which("runc")
    if crun:
        return Check(name="OCI runtime", level="ok", detail=f"crun {machine.version_of(crun)}")
    mend = install_command("crun", machine.distribution)
    if runc:
        detail = f"runc {machine.version_of(runc)}; crun starts a container in half the time"
        return Check(name="OCI runtime", level="warn", detail=detail, mend=mend)
    return Check(name="OCI runtime", level="fail", detail="neither crun nor runc is installed", mend=mend)


def check_program(program: str, purpose: str, *, needed: bool = True) -> Callable[[Machine], Check]:
    def check(machine: Machine) -> Check:
        path = machine.which(program)
        if path:
            return Check(name=program, level="ok", detail=f"{program} {machine.version_of(path)}".strip())
        return Check(
            name=program,
            level="fail" if needed else "warn",
            detail=f"not installed; needed for {purpose}",
            mend=install_command(program, machine.distribution),
        )

    return check


# --- kernel -------------------------------------------------------------------------------------------------------


def check_kernel(machine: Machine) -> Check:
    release = machine.read("/proc/sys/kernel/osrelease")
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if numbers >= (5, 8):
        return Check(name="kernel", level="ok", detail=release)
    return Check(name="kernel", level="fail", detail=f"{release}: older than 5.8", mend="install a newer kernel")


def check_overlayfs(machine: Machine) -> Check:
    """In the kernel already, or a module that the first mount loads."""
    if "overlay" in machine.read("/proc/filesystems"):
        return Check(name="overlayfs", level="ok", detail="available")
    release = machine.read("/proc/sys/kernel/osrelease")
    if "/overlay.ko" in machine.read(f"/lib/modules/{release}/modules.dep"):
        return Check(name="overlayfs", level="ok", detail="available; the kernel loads it when it is first needed")
    return Check(
        name="overlayfs",
        level="fail",
        detail="the kernel has not loaded it",
        mend="sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/podhost.conf",
    )


def check_namespaces(machine: Machine) -> Check:
    missing = [kind for kind in ("net", "ipc", "uts", "pid", "mnt") if not machine.exists(f"/proc/self/ns/{kind}")]
    if not missing:
        return Check(name="namespaces", level="ok", detail="net, ipc, uts, pid, mnt")
    detail = f"the kernel has no {', '.join(missing)} namespaces"
    return Check(name="namespaces", level="fail", detail=detail, mend="use a kernel of the distribution")


_WITHOUT_CGROUPS = "containers run without limits, and only under crun"


def check_cgroups(machine: Machine) -> Check:
    """Version 2, hybrid, or version 1, and the controllers that limits need."""
    wanted = {"cpu", "memory", "pids"}
    if machine.exists("/sys/fs/cgroup/cgroup.controllers"):
        have = set(machine.read("/sys/fs/cgroup/cgroup.controllers").split())
        layout = "version 2"
    else:
        rows = [line.split() for line in machine.read("/proc/cgroups").splitlines() if not line.startswith("#")]
        have = {
            row[0] for row in rows if len(row) == 4 and row[3] == "1" and machine.exists(f"/sys/fs/cgroup/{row[0]}")
        }
        hybrid = machine.exists("/sys/fs/cgroup/unified/cgroup.controllers")
        layout = "hybrid (version 1 with an empty version 2 beside it)" if hybrid else "version 1"
    missing = sorted(wanted - have)
    if not have:
        detail = f"not mounted: {_WITHOUT_CGROUPS}"
        return Check(name="cgroups", level="warn", detail=detail, mend="sudo mount -t cgroup2 none /sys/fs/cgroup")
    if read_only := _find_read_only_cgroups(machine):
        detail = f"{layout}, read-only: {', '.join(read_only)}: {_WITHOUT_CGROUPS}"
        mend = "give this container a cgroup namespace of its own, as docker run --privileged --cgroupns=private does"
        return Check(name="cgroups", level="warn", detail=detail, mend=mend)
    if not missing:
        return Check(name="cgroups", level="ok", detail=layout)
    detail = f"{layout}, without {', '.join(missing)}: such limits are not applied"
    mend = "add to the kernel's command line: cgroup_enable=memory swapaccount=1, then reboot"
    if machine.exists("/sys/fs/cgroup/cgroup.type"):
        # Only the machine's real root has no such file.
        mend = "have the host delegate these controllers to this container (systemd: Delegate=yes)"
    return Check(name="cgroups", level="warn", detail=detail, mend=mend)


def _find_read_only_cgroups(machine: Machine) -> list[str]:
    """Mount points of hierarchies that cannot be written to."""
    found = []
    for line in machine.read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.partition(" ")[0]
        if kind in ("cgroup", "cgroup2") and fields[4].startswith("/sys/fs/cgroup") and "ro" in fields[5].split(","):
            found.append(fields[4])
    return sorted(found)


_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_MKNOD": 27, "CAP_BPF": 39}


def check_capabilities(machine: Machine) -> Check:
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)", machine.read("/proc/self/status"), re.MULTILINE)
    bounding = int(found[1], 16) if found else 0
    missing = {name for name, bit in _CAPABILITIES.items() if not bounding >> bit & 1} - {"CAP_BPF"}
    if not missing:
        return Check(name="capabilities", level="ok", detail="all that are needed")
    if missing <= {"CAP_SYS_RESOURCE", "CAP_MKNOD"}:
        detail = f"{', '.join(sorted(missing))} missing: podhost runs, but cannot raise resource limits or OOM scores"
        mend = "only where this matters: run this machine's container or VM with that capability"
        return Check(name="capabilities", level="warn", detail=detail, mend=mend)
    detail = f"{', '.join(sorted(missing))} missing: mounts and networks cannot be made"
    return Check(name="capabilities", level="fail", detail=detail, mend="run podhost on a real or virtual machine")


def check_seccomp(machine: Machine) -> Check:
    if "Seccomp:" in machine.read("/proc/self/status"):
        return Check(name="seccomp", level="ok", detail="available")
    detail = "the kernel has none: containers run without the RuntimeDefault profile"
    return Check(name="seccomp", level="warn", detail=detail, mend="use a kernel of the distribution")


def check_apparmor(machine: Machine) -> Check:
    if not machine.read("/sys/module/apparmor/parameters/enabled").startswith("Y"):
        detail = "not in this kernel: pods that ask for a profile are warned"
        return Check(name="AppArmor", level="ok", detail=detail)
    if machine.which("apparmor_parser"):
        return Check(name="AppArmor", level="ok", detail="containers get the profile podhost-default")
    mend = install_command("apparmor_parser", machine.distribution)
    detail = "apparmor_parser is not installed: containers run without a profile"
    return Check(name="AppArmor", level="warn", detail=detail, mend=mend)


# --- network ------------------------------------------------------------------------------------------------------


def check_ip_forward(machine: Machine) -> Check:
    if machine.read("/proc/sys/net/ipv4/ip_forward") == "1":
        return Check(name="ip_forward", level="ok", detail="on")
    detail = "off; the daemon turns it on when it starts"
    mend = "echo net.ipv4.ip_forward=1 | sudo tee /etc/sysctl.d/90-podhost.conf && sudo sysctl --system"
    return Check(name="ip_forward", level="warn", detail=detail, mend=mend)


def check_nftables(machine: Machine) -> Check:
    path = machine.which("nft")
    if not path or machine.euid != 0:
        return Check(name="nftables", level="ok", detail="not tried (needs root and nft)")
    done = subprocess.run([path, "list", "tables"], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode == 0:
        return Check(name="nftables", level="ok", detail="the kernel answers")
    detail = f"the kernel refuses: {(done.stderr or done.stdout).strip()[:120]}"
    return Check(name="nftables", level="fail", detail=detail, mend="sudo modprobe nf_tables")


def check_api_port(machine: Machine, port: int = 6443) -> Check:
    if is_listening(machine.socket_path):
        return Check(name=f"port {port}", level="ok", detail="the daemon runs already")
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        detail = "in use by another program (another podhost, or another Kubernetes)"
        if machine.instance != "default":
            detail = f"in use by another program; the instance {machine.instance} takes any free port"
            return Check(name=f"port {port}", level="ok", detail=detail)
        return Check(
            name=f"port {port}", level="warn", detail=detail, mend="podhost serve --api-port 0 picks a free one"
        )
    finally:
        probe.close()
    return Check(name=f"port {port}", level="ok", detail="free")


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def check_firewall(machine: Machine) -> Check:
    """Other firewalls that drop forwarded packets: the daemon knows docker, ufw and firewalld."""
    found = []
    if "ENABLED=yes" in machine.read("/etc/ufw/ufw.conf"):
        found.append("ufw")
    if machine.exists("/run/firewalld"):
        found.append("firewalld")
    if machine.exists("/run/docker.sock"):
        found.append("docker")
    detail = f"{', '.join(found)} present; podhost adds what its bridge needs" if found else "no other firewall found"
    return Check(name="firewall", level="ok", detail=detail)


_SYSTEMD_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"


def check_resolvers(machine: Machine) -> Check:
    """Pods have a loopback of their own: a resolver on the host's is not theirs."""
    own, upstream = (
        re.findall(r"^\s*nameserver\s+(\S+)", machine.read(path), re.MULTILINE)
        for path in ("/etc/resolv.conf", _SYSTEMD_RESOLV_CONF)
    )
    for path, servers in (("/etc/resolv.conf", own), (_SYSTEMD_RESOLV_CONF, upstream if own else [])):
        usable = [server for server in servers if not server.startswith(("127.", "::1"))]
        if usable:
            return Check(name="resolvers", level="ok", detail=f"pods use {', '.join(usable)} of {path}")
    listed = f"only {', '.join(own)}, on the host's loopback" if own else "none in /etc/resolv.conf"
    detail = f"{listed}: pods get no resolver"
    mend = "name a resolver that pods can reach in /etc/resolv.conf, or in the pod: spec.dnsConfig.nameservers"
    return Check(name="resolvers", level="warn", detail=detail, mend=mend)


# --- files --------------------------------------------------------------------------------------------------------


def check_disk(machine: Machine) -> Check:
    path = machine.data_root
    while not path.exists():
        path = path.parent
    found = machine.statvfs(path)
    free = found.f_bavail * found.f_frsize
    gib = free / (1 << 30)
    if gib < 5:
        level: Level = "warn" if gib >= 1 else "fail"
        detail = f"only {gib:.1f} GiB free at {path}"
        return Check(
            name="disk", level=level, detail=detail, mend="podhost image prune, or --data-root on a larger disk"
        )
    if found.f_files and found.f_favail * 100 < found.f_files * EVICTION_INODES_PERCENT:
        part = f"only {found.f_favail} of {found.f_files} inodes free at {path}: below {EVICTION_INODES_PERCENT} %"
        return Check(name="disk", level="warn", detail=f"{part} no pods are started", mend=_EVICTION_MEND)
    return Check(name="disk", level="ok", detail=f"{gib:.0f} GiB free at {path}")


def check_inotify(machine: Machine) -> Check:
    instances = int(machine.read("/proc/sys/fs/inotify/max_user_instances") or 0)
    watches = int(machine.read("/proc/sys/fs/inotify/max_user_watches") or 0)
    detail = f"{instances} instances, {watches} watches"
    if instances >= 128 and watches >= 8192:
        return Check(name="inotify", level="ok", detail=detail)
    mend = (
        "printf 'fs.inotify.max_user_instances=512\\nfs.inotify.max_user_watches=65536\\n'"
        " | sudo tee /etc/sysctl.d/91-podhost.conf && sudo sysctl --system"
    )
    return Check(name="inotify", level="warn", detail=f"{detail}: too few for many pods", mend=mend)


def check_mount_propagation(machine: Machine) -> Check:
    for line in machine.read("/proc/1/mountinfo").splitlines() or machine.read("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        if len(fields) > 6 and fields[4] == "/":
            if any(word.startswith("shared:") for word in fields[6 : fields.index("-")]):
                return Check(name="mounts", level="ok", detail="/ is shared: later mounts reach the pods")
            detail = "/ is private: what is mounted on the host later is not seen by the daemon"
            return Check(name="mounts", level="warn", detail=detail, mend="sudo mount --make-rshared /")
    return Check(name="mounts", level="ok", detail="not known")


def check_file_limit(machine: Machine) -> Check:
    limit = int(machine.read("/proc/sys/fs/file-max") or 0)
    level: Level = "ok" if limit >= 100_000 else "warn"
    mend = "" if level == "ok" else "echo fs.file-max=1000000 | sudo tee /etc/sysctl.d/92-podhost.conf"
    return Check(name="open files", level=level, detail=f"up to {min(limit, 10**9)} in all", mend=mend)


CHECKS: tuple[Callable[[Machine], Check], ...] = (
    check_user,
    check_kernel,
    check_runtime,
    check_program("conmon", "running containers"),
    check_program("skopeo", "pulling images"),
    check_program("nft", "Services, host ports and outbound traffic"),
    check_program("catatonit", "pods with shareProcessNamespace", needed=False),
    check_program("conntrack", "UDP Services that follow a changed endpoint at once", needed=False),
    check_program("buildah", "podhost image build", needed=False),
    check_nftables,
    check_overlayfs,
    check_namespaces,
    check_cgroups,
    check_capabilities,
    check_seccomp,
    check_apparmor,
    check_ip_forward,
    check_firewall,
    check_resolvers,
    check_api_port,
    check_disk,
    check_inotify,
    check_file_limit,
    check_mount_propagation,
)


def run_checks(machine: Machine) -> list[Check]:
    """All of them; a check that itself fails is a finding, never the end."""
    results = []
    for check in CHECKS:
        try:
            results.append(check(machine))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            name = check.__name__.removeprefix("check_")
            results.append(Check(name=name, level="warn", detail=f"cannot be checked: {error}"))
    return results
