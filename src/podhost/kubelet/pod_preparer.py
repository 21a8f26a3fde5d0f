"""Sandbox and volumes of one pod: at most one preparation is under way, and its result serves all containers."""

from __future__ import annotations

import asyncio
import logging

from podhost.errors import PodhostError
from podhost.kubelet.field_events import record_field_events
from podhost.kubelet.in_flight import InFlight
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.pod_actions import PodActions
from podhost.kubelet.pod_facts import PodFacts
from podhost.kubelet.pod_start import PodStarter, PreparedPod, PrepareError
from podhost.kubelet.pod_stop import PodStopper
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.timers import Timers

_log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 122.0


class PodPreparer:
    """Keeps the outcome of the last preparation."""

    def __init__(
        self,
        context: NodeContext,
        facts: PodFacts,
        starter: PodStarter,
        stopper: PodStopper,
        in_flight: InFlight,
        timers: Timers,
    ) -> None:
        self._context = context
        self._facts = facts
        self._starter = starter
        self._stopper = stopper
        self._in_flight = in_flight
        self._timers = timers
        self._prepared: asyncio.Future[PreparedPod] | None = None
        self._is_doubted = False

    @property
    def prepared(self) -> asyncio.Future[PreparedPod]:
        """What containers are put into, as soon as it is there.  After :meth:`ensure` has said yes."""
        assert self._prepared is not None
        return self._prepared

    def forget(self) -> None:
        """The pod has given back what was prepared."""
        self._prepared = None

    def doubt(self) -> None:
        """What was prepared may be why a container cannot be made: the host's mounts are looked at anew next time."""
        self._is_doubted = True

    def ensure(self, actions: PodActions, observed: PodRuntimeStatus) -> bool:
        """Sandbox and volumes are there, or on their way."""
        if "prepare" in self._in_flight:
            return True
        if self._timers.is_held("prepare"):
            return False
        done = self._prepared
        is_wanted = actions.create_sandbox or self._is_doubted
        if not is_wanted and done is not None and _has_result(done, actions):
            return True
        self._is_doubted = False
        if done is None and not observed.sandboxes:
            runtime = self._context.runtime
            unlimited, missing = runtime.list_unlimited_resources(), runtime.list_missing_modules()
            record_field_events(self._context.recorder, self._facts.document, unlimited, missing)
        self._prepared = asyncio.get_running_loop().create_future()
        self._in_flight.spawn("prepare", self._prepare(self._prepared, actions, observed))
        return True

    async def _prepare(
        self, result: asyncio.Future[PreparedPod], actions: PodActions, observed: PodRuntimeStatus
    ) -> None:
        facts = self._facts
        try:
            if actions.create_sandbox and observed.sandboxes:
                text = "Pod sandbox changed, it will be killed and re-created."
                facts.event("Normal", "SandboxChanged", text)
                await self._stopper.stop_sandboxes(observed)
            prepared = await self._starter.prepare_pod(
                facts.document, facts.pod, observed, create=actions.create_sandbox, attempt=actions.sandbox_attempt
            )
        except Exception as error:
            self._timers.retry_later("prepare", RETRY_FIRST_S, RETRY_MAX_S)
            _log.info("%s", error, exc_info=None if isinstance(error, PodhostError) else error)
            result.set_exception(PrepareError(str(error)))
            result.exception()  # Seen, even if no container waits for it.
            return
        except BaseException:
            result.cancel()
            raise
        self._timers.forget_retry("prepare")
        facts.prepared = prepared.sandbox_id
        result.set_result(prepared)


def _has_result(task: asyncio.Future[PreparedPod], actions: PodActions) -> bool:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return False
    return task.result().sandbox_id == actions.sandbox_id
