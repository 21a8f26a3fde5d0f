"""PodChannels: how the containers of a pod talk, as somebody on the node can see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class PodChannelsApi(Protocol):
    """Observes pods of this node when asked; nothing happens while nobody asks."""

    async def observe(self, namespace: str, name: str, *, trace_s: float = 0.0) -> dict[str, Any]:
        """The ``PodChannels`` resource of a pod, as of now.

        ``trace_s``: watch for that many seconds first for what a single look cannot see, which slows the system calls
        of the whole machine a little meanwhile.

        Raises:
            NotFoundError: There is no such pod.
        """

    async def observe_all(self, namespace: str | None) -> list[dict[str, Any]]:
        """Those of all pods (of a namespace), in the order of their names."""

    def subscribe(self, callback: Callable[[str, str], None]) -> Callable[[], None]:
        """Call with (namespace, name) whenever something about a pod has changed; returns the undo."""
