"""What is told of one pod: its status, at a pace that nobody minds, and the back-offs of its containers."""

from __future__ import annotations

import asyncio
from typing import Any

from podhost.api.objects import is_static_pod
from podhost.cri.ids import ContainerId
from podhost.kubelet.container_status import StatusContext
from podhost.kubelet.node_context import NodeContext
from podhost.kubelet.pod_actions import PodActions
from podhost.kubelet.pod_facts import PodFacts
from podhost.kubelet.pod_resizer import PodResizer
from podhost.kubelet.pod_status import generate_pod_status, has_exited_only
from podhost.kubelet.runtime_status import PodRuntimeStatus
from podhost.kubelet.start_failures import StartFailures
from podhost.kubelet.status_writer import write_status
from podhost.kubelet.timers import Timers

_PROGRESS_DELAY_S = 0.05
"""While much is about to change, intermediate states are written at most this often."""


class StatusReporter:
    """Generates a pod's status and writes it."""

    def __init__(
        self, context: NodeContext, facts: PodFacts, failures: StartFailures, resizer: PodResizer, timers: Timers
    ) -> None:
        self._context = context
        self._facts = facts
        self._failures = failures
        self._resizer = resizer
        self._timers = timers
        self._told_backoff: set[ContainerId] = set()
        self._last_write_s = float("-inf")

    def generate(self, observed: PodRuntimeStatus, *, is_ending: bool = False) -> dict[str, Any]:
        """The status as it is now."""
        facts = self._facts
        return generate_pod_status(
            facts.pod,
            observed.without_unprepared(facts.prepared),
            facts.status,
            self._build_context(observed, is_ending=is_ending),
            self._resizer.view(facts.updates).conditions,
        )

    def _build_context(self, observed: PodRuntimeStatus, *, is_ending: bool) -> StatusContext:
        context, facts = self._context, self._facts
        return StatusContext(
            now_ns=context.clock.now_ns(),
            host_ips=context.settings.host_ips,
            backoff=context.settings.container_backoff,
            waiting=self._failures.build_waiting(),
            messages=facts.messages,
            view=facts.view,
            image_names={c.image_id: self._image_name(c.image_id) for c in observed.containers},
            volume_images=self._name_volume_images(),
            unresized=self._resizer.view(facts.updates).unapplied,
            failure=facts.failure,
            is_ending=is_ending,
        )

    def _name_volume_images(self) -> dict[str, str]:
        found = {}
        for volume in self._facts.pod.spec.volumes:
            image = self._context.images.image_status(volume.image.reference or "") if volume.image else None
            if image is not None:
                found[volume.name] = self._image_name(image.id)
        return found

    def _image_name(self, image_id: str) -> str:
        image = self._context.images.image_status(image_id)
        return image.repo_digests[0] if image is not None and image.repo_digests else str(image_id)

    def write_progress(self, observed: PodRuntimeStatus, *, is_busy: bool) -> None:
        """Write now, or in a moment while (``is_busy``) more is about to change."""
        wait = self._last_write_s + _PROGRESS_DELAY_S - asyncio.get_running_loop().time()
        if is_busy and wait > 0:
            if "progress" not in self._timers:
                self._timers.set("progress", wait)
            return
        self._timers.set("progress", None)
        is_ending = bool(self._facts.pod.metadata.deletion_timestamp) and has_exited_only(observed)
        self.write(observed, is_ending=is_ending)

    def write(self, observed: PodRuntimeStatus, *, is_ending: bool) -> None:
        """Write now."""
        facts = self._facts
        status = self.generate(observed, is_ending=is_ending)
        self._last_write_s = asyncio.get_running_loop().time()
        written = write_status(self._context.store, facts.key, facts.uid, status, self._context.clock.now_ns())
        if not written and is_static_pod(facts.document):
            # Its mirror is gone for a moment: what was said last is in memory only.
            facts.document = {**facts.document, "status": status}

    def tell_backoffs(self, actions: PodActions, observed: PodRuntimeStatus) -> None:
        """One BackOff event for each exit that has to wait."""
        for start in actions.backing_off:
            latest = observed.latest(start.name)
            if latest is None or latest.id in self._told_backoff:
                continue
            self._told_backoff.add(latest.id)
            meta = self._facts.pod.metadata
            text = f"Back-off restarting failed container {start.name} in pod {meta.name}_{meta.namespace}({meta.uid})"
            self._facts.event("Warning", "BackOff", text, start.name)

    def forget(self, container_id: ContainerId) -> None:
        """A dead container was removed."""
        self._facts.messages.pop(container_id, None)
        self._told_backoff.discard(container_id)
