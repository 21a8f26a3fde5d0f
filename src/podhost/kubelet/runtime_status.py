"""What runs and ran for one pod, as the runtime records it.  Observed state only; pure values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from podhost.cri.ids import SandboxId
from podhost.cri.runtime import ContainerState, ContainerStatus, PodSandboxStatus, SandboxState

LABEL_KIND = "podhost.dev/kind"
"""``init``, ``app`` or ``ephemeral``."""
LABEL_SPEC_HASH = "podhost.dev/spec-hash"
LABEL_BACKOFF_S = "podhost.dev/restart-backoff-s"
"""Delay before the *next* start, decided when this one was made: so a new daemon knows it too."""
LABEL_ROUND = "podhost.dev/round"
"""How often all containers of the pod had been restarted together (KEP-5532) when this one was made."""
LABEL_TERMINATION_LOG = "podhost.dev/termination-log"
"""Host path of the file mounted at ``terminationMessagePath``."""
LABEL_TERMINATION_POLICY = "podhost.dev/termination-policy"


@dataclass(frozen=True, slots=True)
class PodRuntimeStatus:
    """Facts about one pod.  Both tuples are ordered newest first."""

    sandboxes: tuple[PodSandboxStatus, ...] = ()
    containers: tuple[ContainerStatus, ...] = ()

    @property
    def sandbox(self) -> PodSandboxStatus | None:
        """The newest sandbox, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> PodSandboxStatus | None:
        """The newest sandbox when containers can be put into it."""
        sandbox = self.sandbox
        return sandbox if sandbox is not None and sandbox.state is SandboxState.READY else None

    def latest(self, name: str) -> ContainerStatus | None:
        """The newest container of that name, whatever its sandbox."""
        return next((c for c in self.containers if c.name == name), None)

    def latest_in(self, sandbox_id: SandboxId | None, name: str) -> ContainerStatus | None:
        """The newest container of that name in one sandbox."""
        return next((c for c in self.containers if c.name == name and c.sandbox_id == sandbox_id), None)

    def history(self, name: str) -> tuple[ContainerStatus, ...]:
        """All containers of that name, newest first."""
        return tuple(c for c in self.containers if c.name == name)

    def without_unprepared(self, prepared: SandboxId | None) -> PodRuntimeStatus:
        """As a kubelet would see it, which mounts volumes first: a sandbox is not there before they are.

        Args:
            prepared: The sandbox whose pod has its volumes; one with containers has them as well.
        """
        newest = self.sandbox
        if newest is None or newest.id == prepared or any(c.sandbox_id == newest.id for c in self.containers):
            return self
        return replace(self, sandboxes=self.sandboxes[1:])

    def running(self) -> tuple[ContainerStatus, ...]:
        """Containers that have a process, or may have one."""
        return tuple(c for c in self.containers if c.state in (ContainerState.RUNNING, ContainerState.UNKNOWN))


def build_runtime_status(
    sandboxes: Iterable[PodSandboxStatus], containers: Iterable[ContainerStatus]
) -> PodRuntimeStatus:
    """Order the runtime's records of one pod."""
    return PodRuntimeStatus(
        tuple(sorted(sandboxes, key=lambda s: (s.attempt, s.created_at_ns), reverse=True)),
        tuple(sorted(containers, key=lambda c: (c.attempt, c.created_at_ns), reverse=True)),
    )
