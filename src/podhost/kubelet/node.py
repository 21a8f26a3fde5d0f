"""The Node object of this machine."""

from __future__ import annotations

import logging
import os
import platform
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from podhost.api.apply import record_write
from podhost.api.kinds import NODE
from podhost.api.quantity import format_quantity
from podhost.api.time import format_time
from podhost.errors import ExhaustedError, UnavailableError
from podhost.kubelet.eviction_thresholds import DISK_PRESSURE, MEMORY, MEMORY_PRESSURE, NODE_DISK, PID_PRESSURE
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.node_pressure import build_taints
from podhost.store.keys import ObjectKey

_log = logging.getLogger(__name__)

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)
_UNDER_PRESSURE = {
    MEMORY_PRESSURE: ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    DISK_PRESSURE: ("True", "KubeletHasDiskPressure", "kubelet has disk pressure"),
    PID_PRESSURE: ("True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}
_KUBELET, _CONTROLLER = "kubelet", "kube-controller-manager"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def register_node(context: NodeContext) -> None:
    """Create the Node or bring its status up to date; what users have put on it stays."""
    key = ObjectKey("nodes", "", context.settings.node_name)
    current = context.store.find(key)
    if current is None:
        context.store.create(key, _managed(context, None, build_node(context), _KUBELET))
        return
    status = build_node_status(context, current.get("status") or {})
    labels = {**build_labels(context), **(current["metadata"].get("labels") or {})}
    metadata = {**current["metadata"], "labels": labels}
    node = _managed(context, current, {**current, "metadata": metadata, "status": status}, _KUBELET)
    tainted = {**node, "spec": _with_taints(context, node.get("spec") or {})}
    # On a cluster the node lifecycle controller sees to the taints.
    context.store.update(key, _managed(context, node, tainted, _CONTROLLER))


def try_register_node(context: NodeContext, *more: Callable[[NodeContext], None]) -> bool:
    """As :func:`register_node`, with ``more``; False when the store has no room now.  Raises where no Node is yet."""
    try:
        for write in (register_node, *more):
            write(context)
    except (ExhaustedError, UnavailableError) as error:
        if context.store.find(ObjectKey("nodes", "", context.settings.node_name)) is None:
            raise
        _log.warning("cannot bring the Node up to date: %s", error)
        return False
    return True


def _managed(context: NodeContext, live: dict[str, Any] | None, node: dict[str, Any], by: str) -> dict[str, Any]:
    """The Node with what this write makes of its ``managedFields``."""
    recorded = {**node, "metadata": dict(node["metadata"])}
    record_write(live, recorded, by, NODE.schema, format_time(context.clock.now_ns()))
    return recorded


def build_node_reference(context: NodeContext) -> dict[str, Any]:
    """The Node, as events of a kubelet are about it."""
    name = context.settings.node_name
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}


def _with_taints(context: NodeContext, spec: dict[str, Any]) -> dict[str, Any]:
    old = spec.get("taints") or []
    taints = build_taints(old, context.pressure, format_time(context.clock.now_ns()))
    if taints == old:
        return spec
    rest = {name: value for name, value in spec.items() if name != "taints"}
    return rest | ({"taints": taints} if taints else {})


def build_node(context: NodeContext) -> dict[str, Any]:
    """A fresh Node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": context.settings.node_name,
            "uid": str(uuid4()),
            "creationTimestamp": format_time(context.clock.now_ns()),
            "labels": build_labels(context),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
        "status": build_node_status(context, {}),
    }


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def build_labels(context: NodeContext) -> dict[str, str]:
    """The well-known labels."""
    arch = _architecture()
    return {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": context.settings.node_name,
        "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/control-plane": "",
    }


def build_node_status(context: NodeContext, previous: dict[str, Any]) -> dict[str, Any]:
    """Addresses, capacity, conditions, nodeInfo.  Heartbeats are computed when read, not written."""
    settings, host = context.settings, context.host
    capacity = {
        "cpu": _format_cpu(host.cpu_millis),
        "memory": f"{host.memory_bytes // 1024}Ki",
        "pods": str(settings.max_pods),
        "ephemeral-storage": f"{host.disk_bytes // 1024}Ki",
    }
    capacity |= {f"hugepages-{_format_bytes(size)}": _format_bytes(n) for size, n in host.huge_pages.items()}
    allocatable = capacity | _compute_allocatable(context)
    addresses = [{"type": "InternalIP", "address": ip} for ip in settings.host_ips]
    addresses.append({"type": "Hostname", "address": settings.node_name})
    return {
        **previous,
        "addresses": addresses,
        "allocatable": allocatable,
        "capacity": capacity,
        "conditions": _build_conditions(context, previous),
        "features": {"supplementalGroupsPolicy": True},
        "nodeInfo": _build_node_info(context),
        "runtimeHandlers": [
            {
                "name": name,
                "features": {"recursiveReadOnlyMounts": True, "userNamespaces": can_map_ids(os.uname().release)},
            }
            for name in settings.runtime_handlers
        ],
    }


def _compute_allocatable(context: NodeContext) -> dict[str, str]:
    """What pods may request: eviction begins before the rest is used."""
    host = context.host
    reserved = {each.signal: each.value for each in context.settings.eviction_thresholds if each.is_hard}
    memory, disk = host.memory_bytes - sum(host.huge_pages.values()), host.disk_bytes
    if MEMORY in reserved:
        memory = max(0, memory - reserved[MEMORY].compute(host.memory_bytes))
    if NODE_DISK in reserved:
        disk = max(0, disk - reserved[NODE_DISK].compute(disk))
    return {"memory": f"{memory // 1024}Ki", "ephemeral-storage": str(disk)}


def _format_bytes(number: int) -> str:
    return format_quantity(number, "binary")


def _format_cpu(millis: int) -> str:
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"


def _build_conditions(context: NodeContext, previous: dict[str, Any]) -> list[dict[str, Any]]:
    now = format_time(context.clock.now_ns())
    old = {c["type"]: c for c in previous.get("conditions") or ()}
    verdicts = {name: tuple(verdict) for name, *verdict in _CONDITIONS}
    verdicts |= {name: _UNDER_PRESSURE[name] for name in context.pressure}
    return [
        {
            "type": name,
            "status": status,
            "lastHeartbeatTime": old.get(name, {}).get("lastHeartbeatTime", now),
            "lastTransitionTime": old[name]["lastTransitionTime"] if old.get(name, {}).get("status") == status else now,
            "reason": reason,
            "message": message,
        }
        for name, (status, reason, message) in verdicts.items()
    ]


def can_map_ids(release: str) -> bool:
    """Has the kernel all that pods with ``hostUsers: false`` need: mounts of tmpfs with mapped ids (6.3)?"""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= (6, 3)


def _build_node_info(context: NodeContext) -> dict[str, str]:
    settings = context.settings
    return {
        "architecture": _architecture(),
        "bootID": settings.boot_id,
        "containerRuntimeVersion": f"podhost://{settings.oci_runtime}",
        "kernelVersion": os.uname().release,
        "kubeProxyVersion": "",
        "kubeletVersion": settings.kubelet_version,
        "machineID": settings.machine_id,
        "operatingSystem": "linux",
        "osImage": settings.os_image,
        "systemUUID": settings.system_uuid,
    }
