"""Containers of one pod that could not be started, and when it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from podhost.kubelet.container_status import WaitingReason
from podhost.kubelet.image_puller import StartFailure
from podhost.kubelet.timers import Timers

OnBackingOff = Callable[[str, StartFailure], None]


class StartFailures:
    """The last failure of each container, by name.

    Args:
        timers: Those of the pod; a start that has failed is held there.
    """

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._failures: dict[str, StartFailure] = {}

    def __bool__(self) -> bool:
        return bool(self._failures)

    def add(self, name: str, failure: StartFailure, on_backing_off: OnBackingOff) -> None:
        """It has failed; not again before its time.  ``on_backing_off`` is told when ErrImagePull turns into
        ImagePullBackOff.
        """
        self._failures[name] = failure
        retry = failure.retry
        self._timers.hold(f"start:{name}", retry.retry_after_s)
        self._timers.set(f"becomes:{name}", None)
        if retry.becomes is not None:
            becomes = partial(self._back_off, name, failure, retry.becomes, on_backing_off)
            self._timers.call_later(f"becomes:{name}", retry.becomes_after_s, becomes)

    def _back_off(self, name: str, failure: StartFailure, becomes: StartFailure, tell: OnBackingOff) -> None:
        if self._failures.get(name) is failure:
            self._failures[name] = becomes
            tell(name, becomes)

    def clear(self, name: str) -> None:
        """It has been started, or may be tried at once."""
        self._failures.pop(name, None)
        self._timers.forget_retry(f"start:{name}")
        self._timers.set(f"becomes:{name}", None)

    def clear_where(self, matches: Callable[[StartFailure], bool]) -> None:
        """What these failures came from has changed."""
        for name in [name for name, failure in self._failures.items() if matches(failure)]:
            self.clear(name)

    def build_waiting(self) -> dict[str, WaitingReason]:
        """As the status shows them."""
        return {name: WaitingReason(failure.reason, failure.message) for name, failure in self._failures.items()}
