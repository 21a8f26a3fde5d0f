"""What follows from a pod's quality-of-service class.  Pure."""

from __future__ import annotations

import msgspec

from podhost.api import models
from podhost.api.qos import QosClass
from podhost.api.qos import compute_qos_class as _compute_qos_class
from podhost.api.quantity import quantity_to_int
from podhost.kubelet.pod_actions import AnyContainer


def compute_qos_class(pod: models.Pod) -> QosClass:
    """By what the containers request, and how far they are limited."""
    return _compute_qos_class(msgspec.to_builtins(pod.spec))


def _request_bytes(resources: models.ResourceRequirements | None) -> int:
    requests = resources.requests if resources else {}
    return quantity_to_int(requests["memory"]) if "memory" in requests else 0


def _compute_share(pod: models.Pod) -> int:
    """Of what the pod requests as a whole beyond its containers, one container's equal part."""
    whole = _request_bytes(pod.spec.resources)
    sidecars = [c for c in pod.spec.init_containers if c.restart_policy == "Always"]
    containers = (*pod.spec.containers, *sidecars)
    rest = whole - sum(_request_bytes(c.resources) for c in containers)
    return rest // len(containers) if rest > 0 else 0


def compute_oom_score_adj(pod: models.Pod, container: AnyContainer, memory_capacity_bytes: int) -> int:
    """-997 … 1000: who is killed first when the machine runs out of memory (kubernetes pkg/kubelet/qos)."""
    qos_class = compute_qos_class(pod)
    if qos_class == "Guaranteed":
        return -997
    if qos_class == "BestEffort":
        return 1000
    request_bytes = _request_bytes(container.resources) + _compute_share(pod)
    score = 1000 - (1000 * request_bytes) // memory_capacity_bytes if memory_capacity_bytes else 1000
    return max(3, min(score, 999))
