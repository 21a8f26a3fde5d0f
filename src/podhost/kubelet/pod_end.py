"""The end of one pod: a finished one gives back what it holds, a deleted one leaves nothing.

::

    finish     stop what still runs ──▶ network and volumes given back; dead containers and logs stay
    terminate  stop all ──▶ last status ──▶ everything removed ──▶ the API object

Both are effects of the worker.  One that fails is tried again, each time after twice as long.  A pod that is deleted
while it finishes is not stopped twice: hooks and stop signals that are under way go on, with less patience if the
deletion has less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf

from podhost.errors import ExhaustedError, PodhostError, UnavailableError
from podhost.kubelet.in_flight import InFlight
from podhost.kubelet.pod_facts import PodFacts
from podhost.kubelet.pod_stop import PodStopper, compute_grace_s
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.status_reporter import StatusReporter
from podhost.kubelet.timers import Timers

_log = logging.getLogger(__name__)

_STOP_FIRST_S = 1.0
_STOP_MAX_S = 60.0
_FORCED_GRACE_S = 1.0
EVICTION_GRACE_S = 1.0
"""Of a pod that has to go at once (the kubelet's immediateEvictionGracePeriodSeconds)."""


class PodEnd:
    """Ends one pod."""

    def __init__(
        self,
        facts: PodFacts,
        stopper: PodStopper,
        reporter: StatusReporter,
        in_flight: InFlight,
        timers: Timers,
    ) -> None:
        self._facts = facts
        self._stopper = stopper
        self._reporter = reporter
        self._in_flight = in_flight
        self._timers = timers
        self._grace_s: float | None = None
        self.released = asyncio.Event()
        """It has finished and given back what it held."""

    def _may_begin(self, name: str) -> bool:
        return name not in self._in_flight and not self._timers.is_held(name)

    def finish(self, on_released: Callable[[], None]) -> None:
        """Have what it holds given back; ``on_released`` is told when it holds nothing any more.  Idempotent."""
        if not self.released.is_set() and self._may_begin("finish"):
            self._in_flight.spawn("finish", self._run_finish(on_released))

    async def _run_finish(self, on_released: Callable[[], None]) -> None:
        await self._in_flight.cancel("room", "start:", "prepare", "kill:")
        facts = self._facts
        try:
            self._grace_s = min(self._compute_grace_s(), self._compute_own_grace_s())
            await self._stopper.stop_containers(facts.document, facts.pod, facts.observe(), self._grace_s)
            await self._stopper.release(facts.observe(), facts.uid)
        except (PodhostError, OSError) as error:
            self._on_stop_failed("finish", error)
            return
        self.released.set()
        on_released()

    def _compute_grace_s(self) -> float:
        """As the deletion has it, else the pod."""
        return _FORCED_GRACE_S if self._facts.is_object_gone else compute_grace_s(self._facts.pod)

    def _compute_own_grace_s(self) -> float:
        """As the reason has it for which the kubelet itself ends the pod."""
        own_s = self._facts.failure.grace_s if self._facts.failure is not None else None
        return inf if own_s is None else own_s

    def terminate(self, on_removed: Callable[[], None]) -> None:
        """Have it removed; ``on_removed`` is told when nothing of it is left.  Idempotent."""
        grace_s = self._compute_grace_s()
        if not self._may_begin("terminate"):
            if self._facts.is_object_gone:
                self._shorten_to(grace_s)
            return
        if "finish" in self._in_flight:
            self._shorten_to(grace_s)
        else:
            self._grace_s = grace_s
        self._in_flight.spawn("terminate", self._run_terminate(on_removed))

    async def _run_terminate(self, on_removed: Callable[[], None]) -> None:
        await self._in_flight.wait("finish")
        await self._in_flight.cancel("room", "start:", "prepare", "kill:")
        await self._in_flight.wait("gc")  # It removes log files, as we are about to.
        facts = self._facts
        try:
            grace_s = self._compute_grace_s() if self._grace_s is None else self._grace_s
            await self._stopper.stop_containers(facts.document, facts.pod, facts.observe(), grace_s)
            observed = await facts.observe_with_messages()
            if not facts.is_object_gone:
                self._write_last_status(observed)
            await self._stopper.remove(facts.pod, observed)
            if not facts.is_object_gone:
                self._stopper.delete_object(facts.pod)
        except (PodhostError, OSError) as error:
            self._on_stop_failed("terminate", error)
            return
        on_removed()

    def _write_last_status(self, observed: PodRuntimeStatus) -> None:
        """Where there is no room for it, what takes the room is removed all the same."""
        try:
            self._reporter.write(observed, is_ending=True)
        except (ExhaustedError, UnavailableError) as error:
            _log.warning("cannot write the last status of pod %s: %s", self._facts.key, error)

    def _on_stop_failed(self, name: str, error: Exception) -> None:
        key = self._facts.key
        _log.warning("cannot stop pod %s/%s: %s", key.namespace, key.name, error)
        self._facts.event("Warning", "FailedKillPod", f"error killing pod: {error}")
        self._timers.retry_later(name, _STOP_FIRST_S, _STOP_MAX_S)

    def on_document(self) -> None:
        """The object has changed: a second deletion may have less patience."""
        if self._facts.pod.metadata.deletion_timestamp and "terminate" in self._in_flight:
            self._shorten_to(compute_grace_s(self._facts.pod))

    def _shorten_to(self, grace_s: float) -> None:
        if self._grace_s is not None and grace_s < self._grace_s:
            self._grace_s = grace_s
            shortening = self._stopper.shorten_grace(self._facts.observe(), grace_s)
            self._in_flight.spawn(f"shorten:{grace_s:g}", shortening)
