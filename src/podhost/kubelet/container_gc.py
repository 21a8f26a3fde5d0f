"""Dead containers: of each name the two newest stay, so that ``logs --previous`` has something to read."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from podhost.cri.ids import ContainerId, SandboxId
from podhost.cri.runtime import ContainerState, RuntimeService
from podhost.errors import PodhostError
from podhost.kubelet.in_flight import InFlight
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.timers import Timers

_log = logging.getLogger(__name__)

KEPT_PER_NAME = 2
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 60.0


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


class GarbageCollector:
    """Removes dead containers of one pod, one lot at a time.

    Args:
        name: Of the pod, for the log.
        on_removed: Told of each container that is gone.
    """

    def __init__(
        self,
        name: str,
        runtime: RuntimeService,
        in_flight: InFlight,
        timers: Timers,
        on_removed: Callable[[ContainerId], None],
    ) -> None:
        self._name = name
        self._runtime = runtime
        self._in_flight = in_flight
        self._timers = timers
        self._on_removed = on_removed

    def collect(self, observed: PodRuntimeStatus) -> None:
        """Have what is not kept removed."""
        garbage = compute_garbage(observed)
        may_run = "gc" not in self._in_flight and not self._timers.is_held("gc")
        if garbage and may_run and not self._in_flight.any("start:"):
            self._in_flight.spawn("gc", self._remove(garbage))

    async def remove_all(self, observed: PodRuntimeStatus) -> None:
        """What is left of a finished pod goes, with its logs; not while other garbage is being removed."""
        garbage = Garbage(tuple(c.id for c in observed.containers), tuple(s.id for s in observed.sandboxes))
        if garbage and "gc" not in self._in_flight:
            self._in_flight.spawn("gc", self._remove(garbage))
            await self._in_flight.wait("gc")

    async def _remove(self, garbage: Garbage) -> None:
        try:
            await remove_garbage(self._runtime, garbage)
        except (PodhostError, OSError) as error:
            _log.warning("cannot remove dead containers of %s: %s", self._name, error)
            self._timers.retry_later("gc", _RETRY_FIRST_S, _RETRY_MAX_S)
            return
        self._timers.forget_retry("gc")
        for container_id in garbage.containers:
            self._on_removed(container_id)
