"""Which ids of the host a pod's user namespace has.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

from podhost.api import models
from podhost.kubelet.environment import ConfigError
from podhost.kubelet.pod_actions import AnyContainer

_COUNT = 65536
_RANGES = (1 << 31) // _COUNT - 2
"""Beside the first, which is the host's own.  Not above 2^31: not every program takes such ids."""


def choose_first_id(uid: str, taken: Collection[int]) -> int:
    """A range of its own; the same for a pod whenever it is free, and mostly another one in each instance.

    Raises:
        ValueError: All are taken.
    """
    start = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big")
    for step in range(_RANGES):
        first = (1 + (start + step) % _RANGES) * _COUNT
        if first not in taken:
            return first
    raise ValueError("cannot give a pod a user namespace: all ranges of ids are taken")


def verify_mapped_ids(pod: models.Pod, container: AnyContainer) -> None:
    """Raises ConfigError for an id that a pod's user namespace does not have; the API takes it, as on a cluster."""
    if pod.spec.host_users is not False:
        return
    for path, number in _list_ids(pod, container):
        if number is not None and number >= _COUNT:
            detail = f"must be between 0 and {_COUNT - 1}, inclusive, when `spec.hostUsers` is false"
            raise ConfigError(f"{path}: Invalid value: {number}: {detail}")


def _list_ids(pod: models.Pod, container: AnyContainer) -> Iterator[tuple[str, int | None]]:
    own = container.security_context or models.SecurityContext()
    shared = pod.spec.security_context or models.PodSecurityContext()
    at, above = f"{_format_path(pod, container.name)}.securityContext", "spec.securityContext"
    has_user, has_group = own.run_as_user is not None, own.run_as_group is not None
    yield (f"{at}.runAsUser", own.run_as_user) if has_user else (f"{above}.runAsUser", shared.run_as_user)
    yield (f"{at}.runAsGroup", own.run_as_group) if has_group else (f"{above}.runAsGroup", shared.run_as_group)
    yield f"{above}.fsGroup", shared.fs_group
    for index, group in enumerate(shared.supplemental_groups):
        yield f"{above}.supplementalGroups[{index}]", group


def _format_path(pod: models.Pod, name: str) -> str:
    spec = pod.spec
    groups: dict[str, tuple[AnyContainer, ...]] = {
        "containers": spec.containers,
        "initContainers": spec.init_containers,
        "ephemeralContainers": spec.ephemeral_containers,
    }
    places = (
        f"spec.{of}[{index}]" for of, each in groups.items() for index, one in enumerate(each) if one.name == name
    )
    return next(places)
