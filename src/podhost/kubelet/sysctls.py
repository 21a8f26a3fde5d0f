"""Which sysctls a pod may set (pkg/kubelet/sysctl).  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from podhost.api import models
from podhost.linux.sysctls import find_sysctl_namespace, normalize_sysctl

SAFE = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
"""They cannot harm other pods, nor take the node's resources."""
_WORDS = {"ipc": "IPC", "net": "Net"}


def find_forbidden_sysctl(pod: models.Pod, allowed_unsafe: Iterable[str] = ()) -> str | None:
    """Why the pod is rejected, as the event says it; ``None`` when it may set what it wants.

    ``allowed_unsafe`` are names, or beginnings followed by ``*``.  What belongs to no namespace of a pod is never
    allowed: it would be set for the whole machine.
    """
    context = pod.spec.security_context
    for sysctl in context.sysctls if context else ():
        name = normalize_sysctl(sysctl.name)
        namespace = find_sysctl_namespace(sysctl.name)
        if namespace is None or not (name in SAFE or _matches(name, allowed_unsafe)):
            return f"forbidden sysctl: {json.dumps(name)} not allowlisted"
        if pod.spec.host_ipc if namespace == "ipc" else pod.spec.host_network:
            word = _WORDS[namespace]
            return f"forbidden sysctl: {json.dumps(name)} not allowed with host {word} enabled"
    return None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
        for pattern in map(normalize_sysctl, patterns)
    )
