"""PodNetwork: addresses and links of pod sandboxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podhost.cri.ids import SandboxId
from podhost.cri.runtime import PortMapping


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetworkStatus:
    """What a sandbox got."""

    ips: tuple[str, ...]
    gateway: str


class PodNetwork(Protocol):
    async def attach(
        self, sandbox_id: SandboxId, netns: Path, port_mappings: tuple[PortMapping, ...] = ()
    ) -> PodNetworkStatus:
        """Loopback up, eth0, address, routes, host ports.  Leaves nothing on failure.

        Raises:
            ExhaustedError: No free address.
            ConflictError: A host port is taken; the message names its owner.
        """

    async def detach(self, sandbox_id: SandboxId) -> None:
        """Give link, address and host ports back.  Idempotent; works when the netns is already gone."""

    async def recover(self, live: set[SandboxId]) -> None:
        """At start-up: keep what belongs to ``live``, free the rest, make bridge and rules whole again."""
