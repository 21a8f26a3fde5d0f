"""Volumes that cannot follow their objects: what a kubelet says of them, and when it tries again.

A kubelet mounts such a volume again and again, and says each time that it cannot: after half a second, then after
twice as long as before, up to two minutes. One back-off a pod stands here for one a volume there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podhost.cri.ids import PodUID

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 122.0


@dataclass(slots=True)
class _Failing:
    """``timer``: ``None`` while it is being tried."""

    texts: tuple[str, ...]
    delay_s: float
    timer: asyncio.TimerHandle | None


class MountRetries:
    """The back-offs of one kubelet's pods.

    Args:
        retry: Tries the volumes of a pod again, and has :meth:`on_tried` told of it.
    """

    def __init__(self, retry: Callable[[PodUID], None]) -> None:
        self._retry = retry
        self._failing: dict[PodUID, _Failing] = {}

    def on_tried(self, uid: PodUID, failures: Sequence[str]) -> list[str]:
        """Returns what is to be said now: all when it was time to try, else only what was not said yet."""
        known = self._failing.get(uid)
        if not failures:
            self.forget(uid)
            return []
        if known is not None and known.timer is not None:
            told, known.texts = known.texts, tuple(failures)
            return [text for text in failures if text not in told]
        delay_s = RETRY_FIRST_S if known is None else min(known.delay_s * 2, RETRY_MAX_S)
        timer = asyncio.get_running_loop().call_later(delay_s, self._on_time, uid)
        self._failing[uid] = _Failing(tuple(failures), delay_s, timer)
        return list(failures)

    def forget(self, uid: PodUID) -> None:
        """The pod is well, or does not matter any more.  Idempotent."""
        known = self._failing.pop(uid, None)
        if known is not None and known.timer is not None:
            known.timer.cancel()

    def stop(self) -> None:
        """Try nothing any more.  Idempotent."""
        for uid in list(self._failing):
            self.forget(uid)

    def _on_time(self, uid: PodUID) -> None:
        self._failing[uid].timer = None
        self._retry(uid)
