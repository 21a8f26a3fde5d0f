"""Makes a container's image available: decision, pull, back-off, events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from podhost.aiokit import failpoint
from podhost.aiokit.backoff import Backoff
from podhost.api import models
from podhost.api.image_refs import find_fault
from podhost.cri.images import AuthConfig, Image
from podhost.errors import PodhostError
from podhost.kubelet.go_format import quote
from podhost.kubelet.image_policy import (
    build_auths,
    compute_image_decision,
    explain_pull_error,
    format_image_backoff,
    format_pulled,
    is_policy_defaulted,
)
from podhost.kubelet.node_context import Document, NodeContext, format_field_path
from podhost.kubelet.pod_actions import AnyContainer
from podhost.store.keys import ObjectKey

_STEP_IMAGE = failpoint.register("pod.start.20-image")
_BACKOFF_SHOWN_AFTER_S = 1.0
"""How long ErrImagePull is shown before it becomes ImagePullBackOff, as by the kubelet's next sync."""


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """When a failed start is tried again; ``None``: when something it depends on changes."""

    retry_after_s: float | None
    becomes: StartFailure | None = None
    """What the status says from ``becomes_after_s`` on, until the retry."""
    becomes_after_s: float = 0.0


class StartFailure(PodhostError):
    """A container could not be started: the waiting reason and message of its status."""

    def __init__(self, reason: str, message: str, retry: RetryPlan | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry or RetryPlan(None)


class ImagePuller:
    """Images for containers.  Back-off is counted for each container of each pod."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        backoff = context.settings.image_backoff
        self._backoff: Backoff[tuple[str, str]] = Backoff(
            backoff.initial_s, backoff.max_s, reset_after_s=2 * backoff.max_s
        )

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._backoff.gc(asyncio.get_running_loop().time())

    async def ensure_image(self, document: Document, pod: models.Pod, container: AnyContainer) -> Image:
        """The image, pulled if its policy says so.

        Raises:
            StartFailure: ErrImagePull, InvalidImageName, ErrImageNeverPull …
        """
        ref = container.image or ""
        where = format_field_path(pod, container.name)
        event = self._context.recorder.event
        present = self._context.images.image_status(ref)
        if present is None and (fault := find_fault(ref)):
            cause = f"couldn't parse image name {quote(ref)}: {fault}"
            message = f"Failed to apply default image tag {quote(ref)}: {cause}"
            event(document, "Warning", "InspectFailed", message, field_path=where)
            event(document, "Warning", "Failed", "Error: InvalidImageName", field_path=where)
            raise StartFailure("InvalidImageName", message)
        secrets = self._find_pull_secrets(document, pod)
        defaulted = is_policy_defaulted(pod.metadata.annotations, container.name, ref)
        decision = compute_image_decision(ref, container.image_pull_policy, present, policy_defaulted=defaulted)
        if decision.action == "fail":
            event(document, "Warning", decision.reason, decision.message, field_path=where)
            event(document, "Warning", "Failed", f"Error: {decision.reason}", field_path=where)
            delay = self._next_delay(pod, container)
            raise StartFailure(decision.reason, decision.message, RetryPlan(delay))
        if decision.action == "use" and present is not None:
            event(document, "Normal", "Pulled", decision.message, field_path=where)
            failpoint.hit(_STEP_IMAGE)
            return present
        event(document, "Normal", "Pulling", decision.message, field_path=where)
        image = await self._pull(document, pod, container, where, build_auths(ref, secrets))
        failpoint.hit(_STEP_IMAGE)
        return image

    async def _pull(
        self, document: Document, pod: models.Pod, container: AnyContainer, where: str, auths: tuple[AuthConfig, ...]
    ) -> Image:
        ref = container.image or ""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            image = await self._context.images.pull_image(ref, auths=auths)
        except PodhostError as error:
            raise self._on_pull_failed(document, pod, container, where, error) from error
        self._backoff.reset((pod.metadata.uid, container.name))
        text = format_pulled(ref, loop.time() - begun, image.size_bytes)
        self._context.recorder.event(document, "Normal", "Pulled", text, field_path=where)
        return image

    def _on_pull_failed(
        self,
        document: Document,
        pod: models.Pod,
        container: AnyContainer,
        where: str,
        error: PodhostError,
    ) -> StartFailure:
        ref = container.image or ""
        event = self._context.recorder.event
        reason, message = explain_pull_error(ref, error)
        event(document, "Warning", "Failed", f"Failed to pull image {quote(ref)}: {error}", field_path=where)
        event(document, "Warning", "Failed", f"Error: {reason}", field_path=where)
        delay = self._next_delay(pod, container)
        backing_off = StartFailure(
            "ImagePullBackOff", format_image_backoff(ref, f"{reason}: {message}"), RetryPlan(delay)
        )
        plan = RetryPlan(delay, backing_off, min(_BACKOFF_SHOWN_AFTER_S, delay / 2))
        return StartFailure(reason, message, plan)

    def _next_delay(self, pod: models.Pod, container: AnyContainer) -> float:
        now = asyncio.get_running_loop().time()
        return self._backoff.next((pod.metadata.uid, container.name), now)

    def _find_pull_secrets(self, document: Document, pod: models.Pod) -> list[Document]:
        """Those that there are; an event tells of the others, as a kubelet's does also where nothing is pulled."""
        names = [secret.name for secret in pod.spec.image_pull_secrets if secret.name]
        found = {name: self._context.store.find(ObjectKey("secrets", pod.metadata.namespace, name)) for name in names}
        if missing := [name for name, secret in found.items() if secret is None]:
            text = (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
                "attempting to pull the image may not succeed."
            )
            self._context.recorder.event(document, "Warning", "FailedToRetrieveImagePullSecret", text)
        return [secret for secret in found.values() if secret is not None]
