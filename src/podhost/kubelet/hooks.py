"""postStart and preStop of a container.

Numbered failpoints mark that a hook has returned; what is done if the daemon dies then::

    pod.start.60-post-start   the container is adopted; the hook does not run again
    pod.stop.05-pre-stop      the new daemon stops it from the first step: the hook runs again, as with a kubelet
"""

from __future__ import annotations

import logging

from podhost.aiokit import failpoint
from podhost.api import models
from podhost.cri.ids import ContainerId
from podhost.cri.runtime import ContainerState, ContainerStatus
from podhost.errors import NotFoundError
from podhost.kubelet.grace_period import GracePeriod
from podhost.kubelet.handlers import HandlerTarget, HookError, build_target
from podhost.kubelet.node_context import Document, NodeContext, find_container, format_field_path

_log = logging.getLogger(__name__)

_STEP_POST_START = failpoint.register("pod.start.60-post-start")
_STEP_PRE_STOP = failpoint.register("pod.stop.05-pre-stop")


def find_lifecycle(pod: models.Pod, name: str) -> models.Lifecycle | None:
    """Hooks of a container."""
    found = find_container(pod, name)
    return found[0].lifecycle if found is not None else None


def has_post_start(pod: models.Pod, name: str) -> bool:
    """Whether a container has started only when a hook has returned."""
    lifecycle = find_lifecycle(pod, name)
    return lifecycle is not None and lifecycle.post_start is not None


async def run_post_start(
    context: NodeContext, document: Document, pod: models.Pod, name: str, container_id: ContainerId
) -> None:
    """The postStart hook of a container that has just been started, if it has one.

    Raises:
        HookError: It failed; the event has been recorded.  The container is to be killed.
    """
    lifecycle = find_lifecycle(pod, name)
    if lifecycle is None or lifecycle.post_start is None:
        return
    try:
        status = context.runtime.container_status(container_id)
    except NotFoundError:
        return
    await _run_hook(context, document, pod, status, lifecycle.post_start, "PostStartHook")
    failpoint.hit(_STEP_POST_START)


async def run_pre_stop(
    context: NodeContext, document: Document, pod: models.Pod, status: ContainerStatus, grace: GracePeriod
) -> None:
    """The preStop hook of a container that runs, if it has one, no longer than its grace period."""
    lifecycle = find_lifecycle(pod, status.name)
    if lifecycle is None or lifecycle.pre_stop is None or status.state is not ContainerState.RUNNING:
        return
    try:
        if not await grace.limit(_run_hook(context, document, pod, status, lifecycle.pre_stop, "PreStopHook")):
            _log.info("preStop hook of %s in %s not completed in grace period", status.name, pod.metadata.name)
    except HookError as error:
        _log.info("%s", error)
    failpoint.hit(_STEP_PRE_STOP)


async def _run_hook(
    context: NodeContext,
    document: Document,
    pod: models.Pod,
    status: ContainerStatus,
    handler: models.LifecycleHandler,
    title: str,
) -> None:
    where = format_field_path(pod, status.name)
    try:
        told = await context.handlers.run_hook(_find_target(context, pod, status), handler, pod)
    except HookError:
        # Only the status has the details: an event must not tell what a hook has printed.
        context.recorder.event(document, "Warning", f"Failed{title}", f"{title} failed", field_path=where)
        raise
    if told is not None:
        context.recorder.event(document, "Warning", "LifecycleHTTPFallback", told)


def _find_target(context: NodeContext, pod: models.Pod, status: ContainerStatus) -> HandlerTarget:
    found = find_container(pod, status.name)
    sandbox = next((s for s in context.runtime.list_pod_sandboxes() if s.id == status.sandbox_id), None)
    if found is None or sandbox is None or not isinstance(found[0], models.Container):
        raise HookError(f"Cannot run handler: container {status.name} is gone")
    return build_target(found[0], status, sandbox, context.settings.host_ips)
