"""In-place resize (KEP-1287): what a pod is given, and what is still to be done for it.  Pure.

``spec`` is what is wanted; ``allocated`` what the node has agreed to; ``applied`` what the kernel was told last::

    spec == allocated == applied                       nothing to do
    spec != allocated, it fits                         allocate: PodResizeInProgress, event ResizeStarted
    spec != allocated, it does not fit now             PodResizePending, Deferred: tried again when a pod goes
    spec != allocated, it never fits                   PodResizePending, Infeasible
    allocated != applied, policy NotRequired           write the cgroups
    allocated != applied, policy RestartContainer      kill the container; it starts with the new values
    allocated == applied after a resize                event ResizeCompleted

What was allocated survives the daemon in ``status.containerStatuses[*].resources``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from podhost.api import models
from podhost.api.quantity import parse_quantity
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState, ContainerStatus, LinuxResources
from podhost.kubelet.container_config import build_resources
from podhost.kubelet.pod_actions import is_sidecar
from podhost.kubelet.pod_resources import build_pod_resources, compute_pod_request
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.linux.cgroup import UNLIMITED

_Resources = models.ResourceRequirements
_NOTHING = models.ResourceRequirements()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Resources by container, and of the pod as a whole."""

    containers: Mapping[str, models.ResourceRequirements] = field(default_factory=dict)
    pod: models.ResourceRequirements | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Why a wanted resize is not allocated."""

    reason: Literal["Deferred", "Infeasible"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUpdate:
    """A running container whose cgroup says something else than was allocated."""

    id: ContainerId
    name: str
    wanted: LinuxResources
    restart: bool
    """Its resize policy asks for a restart."""


def read_allocation(pod: models.Pod, status: Mapping[str, Any]) -> Allocation:
    """What was allocated before, by the status; what the spec says for containers that it does not know."""
    known: dict[str, _Resources] = {}
    for group in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(group) or ():
            known[each["name"]] = msgspec.convert(each.get("resources") or {}, _Resources)
    containers = {
        container.name: known.get(container.name, container.resources or _NOTHING) for container in _resizable(pod)
    }
    whole = msgspec.convert(status["resources"], _Resources) if status.get("resources") else pod.spec.resources
    return Allocation(containers=containers, pod=whole)


def allocation_of(pod: models.Pod) -> Allocation:
    """What the spec wants."""
    containers = {container.name: container.resources or _NOTHING for container in _resizable(pod)}
    return Allocation(containers=containers, pod=pod.spec.resources)


def with_allocation(pod: models.Pod, allocation: Allocation) -> models.Pod:
    """The pod as if its spec said what was allocated."""

    def give(container: models.Container) -> models.Container:
        given = allocation.containers.get(container.name)
        return container if given is None else msgspec.structs.replace(container, resources=given)

    spec = msgspec.structs.replace(
        pod.spec,
        containers=tuple(map(give, pod.spec.containers)),
        init_containers=tuple(map(give, pod.spec.init_containers)),
        resources=allocation.pod,
    )
    return msgspec.structs.replace(pod, spec=spec)


def is_same(one: Allocation, other: Allocation) -> bool:
    """By value: ``1`` is ``1000m``."""
    names = one.containers.keys() | other.containers.keys()
    return _value(one.pod) == _value(other.pod) and all(
        _value(one.containers.get(name)) == _value(other.containers.get(name)) for name in names
    )


def _value(resources: models.ResourceRequirements | None) -> tuple[dict[str, Any], dict[str, Any]]:
    given = resources or _NOTHING
    limits = {name: parse_quantity(value) for name, value in given.limits.items()}
    return limits, {name: parse_quantity(value) for name, value in given.requests.items()}


def find_obstacle(
    pod: models.Pod, others: Iterable[models.Pod], *, cpu_millis: int, memory_bytes: int
) -> Pending | None:
    """Why the node cannot give what the pod wants, in the kubelet's words."""
    rooms = (("memory", memory_bytes, 1000), ("cpu", cpu_millis, 1))
    for name, capacity, scale in rooms:
        wanted = -(-compute_pod_request(pod, name) // scale)
        if wanted > capacity:
            text = f"Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {capacity}"
            return Pending("Infeasible", text)
    others = tuple(others)
    for name, capacity, scale in reversed(rooms):
        wanted = -(-compute_pod_request(pod, name) // scale)
        used = sum(-(-compute_pod_request(other, name) // scale) for other in others)
        if wanted and wanted + used > capacity:
            text = f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            return Pending("Deferred", text)
    return None


def compute_updates(
    pod: models.Pod, observed: PodRuntimeStatus, memory_capacity_bytes: int
) -> tuple[ContainerUpdate, ...]:
    """Running containers whose limits are not those of ``pod``, which has its allocation."""
    found = []
    for container in _resizable(pod):
        status = observed.latest(container.name)
        if status is None or status.state is not ContainerState.RUNNING:
            continue
        wanted = build_resources(pod, container, memory_capacity_bytes)
        if changed := _changed_resources(status, wanted):
            restart = any(
                rule.resource_name in changed and rule.restart_policy == "RestartContainer"
                for rule in container.resize_policy
            )
            found.append(
                ContainerUpdate(
                    id=status.id, name=container.name, wanted=spell_out(status.resources, wanted), restart=restart
                )
            )
    return tuple(found)


def _changed_resources(status: ContainerStatus, wanted: LinuxResources) -> set[str]:
    applied, changed = status.resources, set()
    if (applied.cpu_shares, _limit(applied.cpu_quota_us)) != (wanted.cpu_shares, _limit(wanted.cpu_quota_us)):
        changed.add("cpu")
    if _limit(applied.memory_limit_bytes) != _limit(wanted.memory_limit_bytes):
        changed.add("memory")
    return changed


def _limit(value: int | None) -> int | None:
    return None if value is None or value < 0 else value


def spell_out(applied: LinuxResources, wanted: LinuxResources) -> LinuxResources:
    """A limit that there was and is not wanted any more has to be taken away."""

    def bound(before: int | None, after: int | None) -> int | None:
        return UNLIMITED if after is None and _limit(before) is not None else after

    return replace(
        wanted,
        cpu_quota_us=bound(applied.cpu_quota_us, wanted.cpu_quota_us),
        memory_limit_bytes=bound(applied.memory_limit_bytes, wanted.memory_limit_bytes),
    )


def compute_pod_steps(pod: models.Pod, applied: LinuxResources) -> tuple[LinuxResources, LinuxResources] | None:
    """Limits of the pod's cgroup before and after those of its containers change; ``None``: they stay.

    The kernel wants no child above its parent, so the pod grows first and shrinks last.
    """
    wanted = spell_out(applied, build_pod_resources(pod))
    same = (applied.cpu_shares, _limit(applied.cpu_quota_us), _limit(applied.memory_limit_bytes)) == (
        wanted.cpu_shares,
        _limit(wanted.cpu_quota_us),
        _limit(wanted.memory_limit_bytes),
    )
    if same:
        return None

    def larger(before: int | None, after: int | None) -> int | None:
        first, second = _limit(before), _limit(after)
        return after if first is None or second is None else max(first, second)

    roomy = replace(
        wanted,
        cpu_quota_us=larger(applied.cpu_quota_us, wanted.cpu_quota_us),
        memory_limit_bytes=larger(applied.memory_limit_bytes, wanted.memory_limit_bytes),
    )
    if _limit(applied.cpu_quota_us) is None:
        roomy = replace(roomy, cpu_quota_us=None, cpu_period_us=None)
    if _limit(applied.memory_limit_bytes) is None:
        roomy = replace(roomy, memory_limit_bytes=None)
    return roomy, wanted


def format_resize_event(title: str, pod: models.Pod, *, error: str = "") -> str:
    """``Pod resize started: {"containers":[…],"generation":2}``."""
    summary: dict[str, Any] = {}
    for key, containers in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        entries = [
            {"name": container.name, "resources": msgspec.to_builtins(container.resources or _NOTHING)}
            for container in containers
        ]
        if entries:
            summary[key] = entries
    summary["generation"] = pod.metadata.generation or 0
    if error:
        summary["error"] = error
    return f"{title}: {json.dumps(summary, separators=(',', ':'))}"


def _resizable(pod: models.Pod) -> tuple[models.Container, ...]:
    return (*(c for c in pod.spec.init_containers if is_sidecar(c)), *pod.spec.containers)
