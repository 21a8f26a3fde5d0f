"""What a start that fails takes back, so that the machine is as before it.

::

    step                         what undoes it
    plan                         the network's teardown: bridge with routes, links, rules, forwarding
    store, images                closed by the exit stack; their files stay, as after any end
    network (sandboxes adopted)  as the plan's
    proxy                        its table is deleted
    kubelet                      stopped first of all
    sockets                      closed, and the unix socket's file removed, by the exit stack
    mount namespace, cgroups     dropped at the end of the daemon when this says that nothing is left

While pods live nothing is undone but what serves the daemon alone: they need the rest, and the next daemon adopts
them.  Whether they do, the runtime knows once it has read its records; before that, a mount namespace that was there
already says that they may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from podhost.aiokit import failpoint
from podhost.runtime.undo import UndoStack

STEP_PLAN = failpoint.register("daemon.start.10-plan")
STEP_STORE = failpoint.register("daemon.start.20-store")
STEP_IMAGES = failpoint.register("daemon.start.30-images")
STEP_NETWORK = failpoint.register("daemon.start.40-network")
STEP_PROXY = failpoint.register("daemon.start.50-proxy")
STEP_KUBELET = failpoint.register("daemon.start.60-kubelet")
STEP_SOCKETS = failpoint.register("daemon.start.70-sockets")
STEP_CONTROLLERS = failpoint.register("daemon.start.80-controllers")
STEP_SERVING = failpoint.register("daemon.start.90-serving")


class StartUndo:
    """Filled by the steps of a start.

    Args:
        is_new: No daemon has run since the machine has started, or the last one has left no trace.
    """

    def __init__(self, *, is_new: bool) -> None:
        self._steps = UndoStack("a start that failed")
        self.may_pods_live: Callable[[], bool] = lambda: not is_new
        self.quiesce: Callable[[], Awaitable[object]] | None = None
        """Ends what might still be starting pods.  Idempotent."""

    def push(self, undo: Callable[[], Awaitable[object]]) -> None:
        """Register what undoes a step; right before one that may fail halfway, if the undo can bear that."""
        self._steps.push(undo)

    async def take_back(self) -> bool:
        """Undo, newest first; whether nothing is left that pods would need."""
        if self.quiesce is not None:
            await self.quiesce()
        if self.may_pods_live():
            return False
        await self._steps.unwind()
        return True
