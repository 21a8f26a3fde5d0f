"""What the pods on a node take of it, kept up to date pod by pod.  Pure; scheduler and kubelet each have one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from podhost.api.pod_requests import sum_requests

Doc = Mapping[str, Any]
HostPort = tuple[str, str, int]
"""Host address, protocol, port."""


@dataclass(frozen=True, slots=True)
class _Share:
    """Of one pod."""

    requests: Mapping[str, Fraction]
    ports: frozenset[HostPort]


@dataclass(slots=True)
class NodeLoad:
    """Sums over the pods that are on the node and have not ended."""

    used: dict[str, Fraction] = field(default_factory=dict)
    """Effective requests, by resource."""
    ports: Counter[HostPort] = field(default_factory=Counter)
    _shares: dict[Hashable, _Share] = field(default_factory=dict)

    @property
    def pods(self) -> int:
        return len(self._shares)

    def put(self, key: Hashable, pod: Doc) -> None:
        """The pod is on the node, as it is now."""
        self.drop(key)
        spec = pod.get("spec") or {}
        # A request of nothing leaves no sum, so there would be none to take it from again.
        requests = {name: amount for name, amount in sum_requests(spec).items() if amount}
        share = self._shares[key] = _Share(requests, frozenset(host_ports(spec)))
        for name, amount in share.requests.items():
            self.used[name] = self.used.get(name, Fraction(0)) + amount
        self.ports.update(share.ports)

    def drop(self, key: Hashable) -> None:
        """It is not, or has ended.  Idempotent."""
        share = self._shares.pop(key, None)
        if share is None:
            return
        for name, amount in share.requests.items():
            self.used[name] -= amount
            if not self.used[name]:
                del self.used[name]
        self.ports -= Counter(share.ports)


def do_host_ports_clash(one: HostPort, other: HostPort) -> bool:
    """Whether two pods of one node cannot have both."""
    return one[1:] == other[1:] and ("0.0.0.0" in (one[0], other[0]) or one[0] == other[0])


def host_ports(pod_spec: Doc) -> Iterable[HostPort]:
    """Of all containers that stay."""
    init = [c for c in pod_spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    for container in [*(pod_spec.get("containers") or []), *init]:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"]
