"""Containers of one pod that could not be started, and when it is tried again."""

from __future__ import annotations

from collections.abc import Callable

from podhost.kubelet.container_status import WaitingReason
from podhost.kubelet.image_puller import StartFailure
from podhost.kubelet.timers import Timers


class StartFailures:
    """The last failure of each container, by name.

    Args:
        timers: Those of the pod; a start that has failed is held there.
        on_backing_off: Told when ErrImagePull turns into ImagePullBackOff.
    """

    def __init__(self, timers: Timers, on_backing_off: Callable[[str, StartFailure], None]) -> None:
        self._timers = timers
        self._tell_backing_off = on_backing_off
        self._failures: dict[str, StartFailure] = {}

    def __bool__(self) -> bool:
        return bool(self._failures)

    def add(self, name: str, failure: StartFailure) -> None:
        """It has failed; not again before its time."""
        self._failures[name] = failure
        retry = failure.retry
        self._timers.hold(f"start:{name}", retry.retry_after_s)
        self._timers.set(f"becomes:{name}", None)
        if retry.becomes is not None:
            self._timers.call_later(
                f"becomes:{name}", retry.becomes_after_s, self._on_backing_off, name, failure, retry.becomes
            )

    def _on_backing_off(self, name: str, failure: StartFailure, becomes: StartFailure) -> None:
        if self._failures.get(name) is failure:
            self._failures[name] = becomes
            self._tell_backing_off(name, becomes)

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
