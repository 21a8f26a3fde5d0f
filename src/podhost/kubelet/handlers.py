"""What probes and hooks do, as a contract: the kubelet decides when, this says how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podhost.api import models
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerStatus, PodSandboxStatus
from podhost.errors import PodhostError
from podhost.kubelet.probe_state import Outcome


class HookError(PodhostError):
    """A hook has failed; the message is the one that a pod's status shows."""


@dataclass(frozen=True, slots=True)
class HandlerTarget:
    """The container that is asked, and the way to it."""

    container_id: ContainerId
    container: models.Container
    pod_ip: str
    """Of the pod; the host's for a pod on the host's network."""
    netns: Path | None
    """The pod's network namespace; ``None``: the host's."""


class Handlers(Protocol):
    """Carries out probes and hooks."""

    async def probe(self, target: HandlerTarget, probe: models.Probe, timeout_s: float) -> Outcome:
        """Once; whatever goes wrong is an outcome."""

    async def run_hook(self, target: HandlerTarget, handler: models.LifecycleHandler, pod: models.Pod) -> str | None:
        """To its end, without a limit of its own.

        Returns:
            The message of an event that Kubernetes records about a hook that succeeded in an unexpected way.

        Raises:
            HookError: It failed.
        """

    def close(self) -> None:
        """Give back what is kept for all.  Idempotent."""


def build_target(
    container: models.Container, status: ContainerStatus, sandbox: PodSandboxStatus, host_ips: tuple[str, ...]
) -> HandlerTarget:
    """The way to a container that runs in ``sandbox``."""
    ips = host_ips if sandbox.host_network else sandbox.ips
    netns = None if sandbox.host_network else sandbox.netns_path
    return HandlerTarget(status.id, container, ips[0] if ips else "127.0.0.1", netns)
