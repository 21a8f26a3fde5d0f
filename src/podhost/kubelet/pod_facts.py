"""What the parts of one pod's worker know of it in common.

The object is as it was seen last; the runtime's facts are read anew each time.  The preparer writes ``prepared``, the
reporter the ``document`` of a static pod and what is forgotten of the messages, the worker all else; each write is one
step of the loop.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from podhost.api import models
from podhost.cri.ids import ContainerId, PodUID, SandboxId
from podhost.cri.runtime import ContainerState
from podhost.kubelet.node_context import Document, NodeContext, format_field_path
from podhost.kubelet.pod_actions import LifecycleView, PodFailure
from podhost.kubelet.resize import ContainerUpdate
from podhost.kubelet.runtime_status import PodRuntimeStatus, build_runtime_status
from podhost.kubelet.termination_message import read_termination_message
from podhost.store.keys import ObjectKey


class PodFacts:
    """One pod."""

    def __init__(self, context: NodeContext, document: Document, pod: models.Pod) -> None:
        self._context = context
        self.is_object_gone = False
        """The API object was removed without waiting for the pod's end."""
        self.failure: PodFailure | None = None
        """Why the kubelet ends it."""
        self.view = LifecycleView()
        self.updates: tuple[ContainerUpdate, ...] = ()
        """Limits that are not yet as wanted."""
        self.prepared: SandboxId | None = None
        """The sandbox beside which the volumes are mounted."""
        self.messages: dict[ContainerId, str] = {}
        """Termination messages of what has exited."""
        self.set_document(document, pod)

    def set_document(self, document: Document, pod: models.Pod) -> None:
        """The API object, and the pod as it is to run: with the resources that it was given."""
        self.document = document
        self.pod = pod
        self.uid = PodUID(pod.metadata.uid)
        self.key = ObjectKey("pods", pod.metadata.namespace, pod.metadata.name)

    @property
    def status(self) -> dict[str, Any]:
        """The status as it was seen last."""
        return self.document.get("status") or {}

    @property
    def is_deleted(self) -> bool:
        """Whether its end was asked for."""
        return self.is_object_gone or bool(self.pod.metadata.deletion_timestamp)

    def observe(self) -> PodRuntimeStatus:
        """The runtime's facts, from memory."""
        runtime = self._context.runtime
        return build_runtime_status(runtime.list_pod_sandboxes(self.uid), runtime.list_containers(self.uid))

    async def observe_with_messages(self) -> PodRuntimeStatus:
        """Facts, after the messages of all that has ended were read.  Nothing is awaited after the last look."""
        while True:
            observed = self.observe()
            fresh = [c for c in observed.containers if c.state is ContainerState.EXITED and c.id not in self.messages]
            if not fresh:
                return observed
            for container in fresh:
                self.messages[container.id] = await asyncio.to_thread(read_termination_message, container)

    def event(self, type_: Literal["Normal", "Warning"], reason: str, message: str, container: str = "") -> None:
        """Record an event about the pod, or about the container of that name."""
        where = format_field_path(self.pod, container) if container else ""
        self._context.recorder.event(self.document, type_, reason, message, field_path=where)
