"""How much clients may ask for at once: requests in flight, streams, connections.

Requests are counted as kube-apiserver's ``--max-requests-inflight`` and ``--max-mutating-requests-inflight`` do it;
administrators (``system:masters``) are never refused one, and health and version are not counted.  Streams (watches,
logs, execs…) are counted apart, for each user and in all: they last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from podhost.api import errors
from podhost.apiserver.authn import MASTERS
from podhost.apiserver.call import Call, is_long_running
from podhost.apiserver.routing import Access

_RETRY_AFTER_S = 1
_READING = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Upper bounds; what is beyond is answered with 429, or, for a connection, closed."""

    reading: int = 400
    mutating: int = 200
    streams: int = 5_000
    streams_per_user: int = 2_000
    """Administrators are only bound by all streams together."""
    connections: int = 5_000
    connections_per_peer: int = 3_000
    """Of one IP address, or of the unix socket's users together, so that one peer cannot lock out the others."""
    idle_s: float = 90.0
    """Without a complete request head for so long, a connection is closed: kube-apiserver's idle timeout."""
    handshake_s: float = 10.0
    """A TLS handshake that is not complete by then ends its connection."""
    body_s: float = 60.0
    """A body that has not come by then is not waited for: kube-apiserver's ``--request-timeout``."""
    answer_s: float = 60.0
    """An answer that the client has not taken by then is broken off; the same timeout."""
    stall_s: float | None = 4 * 3600.0
    """A stream whose client takes nothing for so long is ended; ``None``: never.  The kubelet's
    ``--streaming-connection-idle-timeout``."""
    min_watch_s: float = 1800.0
    """A watch that names no timeout lasts at least as long, twice as long at most: ``--min-request-timeout``."""


class Admission:
    """Counts what is going on.  For the event loop's thread."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._requests: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    @contextmanager
    def admitted(self, call: Call) -> Iterator[None]:
        """For as long as the request is served.  Raises ApiError (429) when there are too many."""
        if call.route.access is Access.PUBLIC:
            yield
            return
        is_master = MASTERS in call.user.groups
        if is_long_running(call):
            counts, key = self._streams, call.user.name
            full = self._are_streams_full(key, is_master=is_master)
        else:
            counts, key = self._requests, "reading" if call.route.verb in _READING else "mutating"
            limit = self._limits.reading if key == "reading" else self._limits.mutating
            full = not is_master and counts[key] >= limit
        if full:
            raise errors.too_many_requests("Too many requests, please try again later.", _RETRY_AFTER_S)
        counts[key] += 1
        try:
            yield
        finally:
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def _are_streams_full(self, user: str, *, is_master: bool) -> bool:
        if self._streams.total() >= self._limits.streams:
            return True
        return not is_master and self._streams[user] >= self._limits.streams_per_user


class ConnectionCount:
    """How many connections each peer has."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._peers: Counter[str] = Counter()

    def take(self, peer: str) -> Callable[[], None] | None:
        """One more, and how to give it back; ``None`` when there are too many."""
        if self._peers.total() >= self._limits.connections or self._peers[peer] >= self._limits.connections_per_peer:
            return None
        self._peers[peer] += 1

        def give_back() -> None:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

        return give_back
