"""cgroup values of a whole pod (pkg/kubelet/cm ResourceConfigForPod).  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from podhost.api import models
from podhost.api.quantity import parse_quantity, quantity_to_int
from podhost.cri.runtime import LinuxResources
from podhost.kubelet.pod_actions import AnyContainer
from podhost.kubelet.qos import compute_qos_class

CPU_PERIOD_US = 100_000
MIN_QUOTA_US = 1_000
MIN_SHARES = 2
MAX_SHARES = 262_144
MAX_QUOTA_US = (1 << 44) - 1
"""Of the kernel; more than any machine has processors."""
MAX_BYTES = (1 << 63) - 1
"""Of a quantity in Kubernetes, and of what the runtimes read."""
_HUGE_PAGES = "hugepages-"

_Amounts = Mapping[str, str | int | float]
_Section = Literal["requests", "limits"]


def build_pod_resources(pod: models.Pod) -> LinuxResources:
    """Weight of the pod among pods; and limits, where all of its containers have them."""
    qos_class = compute_qos_class(pod)
    pages = compute_huge_pages(pod)
    if qos_class == "BestEffort":
        return LinuxResources(cpu_shares=MIN_SHARES, huge_page_limits=pages)
    cpu_limit = compute_pod_limit(pod, "cpu")
    memory_limit = compute_pod_limit(pod, "memory")
    return LinuxResources(
        cpu_shares=compute_cpu_shares(_compute_total(pod, "requests", "cpu")),
        cpu_quota_us=compute_cpu_quota_us(cpu_limit) if cpu_limit else None,
        cpu_period_us=CPU_PERIOD_US if cpu_limit else None,
        memory_limit_bytes=min(-(-memory_limit // 1000), MAX_BYTES) if memory_limit else None,
        huge_page_limits=pages,
    )


def compute_huge_pages(pod: models.Pod) -> tuple[tuple[int, int], ...]:
    """(size of a page, bytes of such pages) that the pod requests."""
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    found = [each for each in (pod.spec.resources, *(c.resources for c in containers)) if each is not None]
    names = {name for each in found for name in (*each.requests, *each.limits) if name.startswith(_HUGE_PAGES)}
    amounts = [
        (quantity_to_int(name.removeprefix(_HUGE_PAGES)), compute_pod_request(pod, name) // 1000) for name in names
    ]
    return tuple(sorted((size, min(amount, MAX_BYTES)) for size, amount in amounts))


def compute_cpu_shares(millis: int) -> int:
    """cgroup version 1's word for a CPU request."""
    return min(max(millis * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def compute_cpu_quota_us(millis: int) -> int:
    """Microseconds a period of 100 ms for a CPU limit."""
    return min(max(millis * CPU_PERIOD_US // 1000, MIN_QUOTA_US), MAX_QUOTA_US)


def compute_pod_request(pod: models.Pod, resource: str) -> int:
    """What the scheduler sets aside for the pod, in thousandths."""
    return _compute_total(pod, "requests", resource)


def compute_pod_limit(pod: models.Pod, resource: str) -> int | None:
    """In thousandths; ``None`` when a container may use as much as there is."""
    spec = pod.spec
    everyone = (*spec.init_containers, *spec.containers)
    own = spec.resources.limits if spec.resources else {}
    if resource not in own and any(not _amount(container, "limits", resource) for container in everyone):
        return None
    return _compute_total(pod, "limits", resource)


def _compute_total(pod: models.Pod, section: _Section, resource: str) -> int:
    """What the pod needs at its peak, in thousandths: start-up steps run one by one, beside sidecars."""
    spec = pod.spec
    own = getattr(spec.resources, section) if spec.resources else {}
    if resource in own:
        total = to_millis(own[resource])
    else:
        total = sum(_amount(container, section, resource) for container in spec.containers)
        sidecars = peak = 0
        for container in spec.init_containers:
            amount = _amount(container, section, resource)
            peak = max(peak, sidecars + amount)
            if container.restart_policy == "Always":
                sidecars += amount
        total = max(total + sidecars, peak)
    return total + to_millis(spec.overhead.get(resource, 0))


def _amount(container: AnyContainer, section: _Section, resource: str) -> int:
    if container.resources is None:
        return 0
    limits: _Amounts = container.resources.limits
    if section == "requests":
        return to_millis(container.resources.requests.get(resource, limits.get(resource, 0)))
    return to_millis(limits.get(resource, 0))


def to_millis(quantity: str | int | float) -> int:
    """Thousandths of a quantity, rounded up."""
    value = parse_quantity(quantity) * 1000
    return -(-value.numerator // value.denominator)
