"""What the effects of the kubelet work with, as one value."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from podhost.aiokit.clock import Clock
from podhost.api import models
from podhost.cri.ids import PodUID
from podhost.cri.images import ImageService
from podhost.cri.runtime import DnsConfig, RuntimeService
from podhost.cri.volumes import PodVolumes
from podhost.errors import NotFoundError
from podhost.kubelet.handlers import Handlers
from podhost.kubelet.pod_actions import AnyContainer
from podhost.kubelet.qos_cgroups import QosCgroups
from podhost.kubelet.sandbox_config import choose_host_dns, parse_resolv_conf
from podhost.kubelet.settings import KubeletSettings
from podhost.kubelet.user_ids import choose_first_id
from podhost.linux.disk_space import read_disk_space
from podhost.linux.huge_pages import read_huge_pages
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

Document = dict[str, Any]
_RESOURCES = {"ConfigMap": "configmaps", "Secret": "secrets"}


class Recorder(Protocol):
    """Of :class:`podhost.store.events.EventRecorder`."""

    def event(
        self,
        involved: Document,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        field_path: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Read from the machine at start and at each relist."""

    cpu_millis: int
    memory_bytes: int
    dns: DnsConfig
    disk_bytes: int = 0
    """Of the file system that pods' writable layers, logs and volumes are on."""
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    """Bytes set aside, by the size of a page."""


@dataclass(slots=True, kw_only=True)
class NodeContext:
    """Collaborators of one kubelet; ``host`` is replaced when it is read again."""

    settings: KubeletSettings
    store: Store
    runtime: RuntimeService
    images: ImageService
    volumes: PodVolumes
    recorder: Recorder
    clock: Clock
    handlers: Handlers
    host: HostFacts
    started_at_ns: int
    """When this kubelet began: what runs longer was adopted."""
    allocated: dict[PodUID, models.Pod] = field(default_factory=dict)
    """The pods of this node, with the resources that they were given."""

    pressure: frozenset[str] = frozenset()
    """Node conditions that are true: MemoryPressure, DiskPressure, PIDPressure."""

    user_namespaces: dict[PodUID, int] = field(default_factory=dict)
    """First ids of pods that have a user namespace of their own."""

    qos: QosCgroups = field(init=False)

    def __post_init__(self) -> None:
        self.qos = QosCgroups(self.runtime)

    def claim_ids(self, pod: models.Pod) -> int:
        """The first id of the pod's own user namespace on the host; 0 for a pod that is in the host's."""
        uid = PodUID(pod.metadata.uid)
        if pod.spec.host_users is not False:
            return 0
        if uid not in self.user_namespaces:
            taken = {sandbox.first_host_id for sandbox in self.runtime.list_pod_sandboxes() if sandbox.uid != uid}
            self.user_namespaces[uid] = choose_first_id(uid, taken | set(self.user_namespaces.values()))
        return self.user_namespaces[uid]

    def read_object(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A ConfigMap or Secret."""
        return self.store.find(ObjectKey(_RESOURCES[kind], namespace, name))

    def find_runtime_handler(self, class_name: str) -> str:
        """Name of the OCI runtime that a RuntimeClass stands for.  Raises NotFoundError."""
        if not class_name:
            return ""
        found = self.store.find(ObjectKey("runtimeclasses.node.k8s.io", "", class_name))
        if found is None:
            raise NotFoundError(f"runtimeclass.node.k8s.io {json.dumps(class_name)} not found")
        return str(found.get("handler") or "")

    def list_services(self, namespace: str) -> tuple[Mapping[str, Any], ...]:
        """Services that a pod of the namespace hears of by its environment."""
        services, _ = self.store.list("services", namespace)
        if namespace == "default":
            return tuple(services)
        api = self.store.find(ObjectKey("services", "default", "kubernetes"))
        return (*services, api) if api is not None else tuple(services)


def read_host_facts(settings: KubeletSettings) -> HostFacts:
    """Processors, memory and resolvers of the machine.  Blocks for a moment."""
    return HostFacts(
        cpu_millis=settings.cpu_millis or (os.cpu_count() or 1) * 1000,
        memory_bytes=settings.memory_bytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        dns=choose_host_dns(
            read_resolv_conf(settings.resolv_conf), lambda: read_resolv_conf(settings.upstream_resolv_conf)
        ),
        huge_pages=read_huge_pages(),
        disk_bytes=read_disk_space(settings.state_dir).capacity_bytes,
    )


def read_resolv_conf(path: Path) -> DnsConfig:
    try:
        return parse_resolv_conf(path.read_text(errors="replace"))
    except OSError:
        return DnsConfig()


def find_container(pod: models.Pod, name: str) -> tuple[models.Container | models.EphemeralContainer, str] | None:
    """(container, its list in the spec)."""
    groups: tuple[tuple[str, tuple[AnyContainer, ...]], ...] = (
        ("containers", pod.spec.containers),
        ("initContainers", pod.spec.init_containers),
        ("ephemeralContainers", pod.spec.ephemeral_containers),
    )
    for group, containers in groups:
        for container in containers:
            if container.name == name:
                return container, group
    return None


def format_field_path(pod: models.Pod, name: str) -> str:
    """``spec.containers{1st}``: the part of the pod that an event is about."""
    found = find_container(pod, name)
    return f"spec.{found[1]}{{{name}}}" if found else ""
