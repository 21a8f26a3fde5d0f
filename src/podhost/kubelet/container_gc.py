"""Dead containers: of each name the two newest stay, so that ``logs --previous`` has something to read."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import ContainerState, RuntimeService
from podhost.kubelet.runtime_status import PodRuntimeStatus

KEPT_PER_NAME = 2


@dataclass(frozen=True, slots=True)
class Garbage:
    """What can be removed."""

    containers: tuple[ContainerId, ...] = ()
    sandboxes: tuple[SandboxId, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.sandboxes)


def compute_garbage(observed: PodRuntimeStatus) -> Garbage:
    """Exited containers beyond those kept, and old sandboxes that hold none of the kept.  Pure."""
    seen: Counter[str] = Counter()
    dead: list[ContainerId] = []
    used: set[SandboxId] = set()
    for container in observed.containers:
        seen[container.name] += 1
        if seen[container.name] > KEPT_PER_NAME and container.state is ContainerState.EXITED:
            dead.append(container.id)
        else:
            used.add(container.sandbox_id)
    old = tuple(s.id for s in observed.sandboxes[1:] if s.id not in used)
    return Garbage(tuple(dead), old)


async def remove_garbage(runtime: RuntimeService, garbage: Garbage) -> None:
    """Remove containers, then the sandboxes that held them."""
    await asyncio.gather(*(runtime.remove_container(c) for c in garbage.containers))
    for sandbox_id in garbage.sandboxes:
        await runtime.stop_pod_sandbox(sandbox_id)
        await runtime.remove_pod_sandbox(sandbox_id)
