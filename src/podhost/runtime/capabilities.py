"""Linux capabilities by name, and which of them a container gets."""

from __future__ import annotations

from collections.abc import Iterable

# Index is the kernel's number (linux/capability.h).
_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
ALL_CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())

_DEFAULT_NAMES = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)
DEFAULT_CAPABILITIES = tuple(f"CAP_{name}" for name in _DEFAULT_NAMES.split())
"""Docker's and containerd's default set."""


def parse_capability_mask(hexadecimal: str) -> frozenset[str]:
    """Names in a mask as ``/proc/PID/status`` prints it."""
    mask = int(hexadecimal, 16)
    return frozenset(name for number, name in enumerate(ALL_CAPABILITIES) if mask >> number & 1)


def compute_capabilities(
    add: Iterable[str], drop: Iterable[str], *, privileged: bool, available: frozenset[str]
) -> tuple[str, ...]:
    """The container's set, sorted.  ``ALL`` works in both lists, as in containerd: first ALL, then single names.

    Capabilities that podhost itself lacks cannot be given and are left out.
    """
    added, dropped = {_full_name(name) for name in add}, {_full_name(name) for name in drop}
    chosen = set(ALL_CAPABILITIES if privileged or "CAP_ALL" in added else DEFAULT_CAPABILITIES)
    if not privileged:
        if "CAP_ALL" in dropped:
            chosen = set()
        chosen = (chosen | added) - dropped
    return tuple(sorted((chosen & available) - {"CAP_ALL"}))


def _full_name(name: str) -> str:
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"
