"""What the API server asks of the node: the kubelet's own API (logs, exec, attach, port-forward)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from podhost.cri.runtime import ExecSession


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """``PodLogOptions`` of the API, parsed."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_ns: int = 0
    """Only lines at or after this time (nanoseconds since the epoch)."""
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"
    """``All``, ``Stdout`` or ``Stderr``."""


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What the kubelet's HTTP server answers."""

    content_type: str
    body: bytes


class NodeHttpApi(Protocol):
    """The paths of the kubelet's own HTTP server, which only reads."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All that there are."""

    async def get(self, path: str, query: Mapping[str, str]) -> NodeAnswer | None:
        """``None``: there is no such path.  Raises OSError, PodhostError."""


class ByteStream(Protocol):
    """A connection into a pod."""

    async def read(self) -> bytes:
        """Next bytes; empty at the end.  Raises ConnectionError when the pod's side broke off."""

    async def write(self, data: bytes) -> None:
        """Waits while the pod's side does not read.  Raises ConnectionError when it has gone."""

    async def write_eof(self) -> None:
        """Half-close: the pod's side may go on sending."""

    async def close(self) -> None:
        """Idempotent."""


class NodeApi(Protocol):
    """Streams of the pods on this node.  ``namespace`` and ``pod`` name a Pod object that exists.

    Raises ``podhost.api.errors.ApiError`` with the kubelet's texts (container not found, waiting to start…).
    """

    @property
    def http(self) -> NodeHttpApi:
        """What else the kubelet tells."""

    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Chunks of whole log lines.  Errors are raised by the call itself, before the first chunk."""

    async def exec(
        self, namespace: str, pod: str, container: str, command: tuple[str, ...], *, tty: bool, stdin: bool
    ) -> ExecSession: ...

    async def attach(self, namespace: str, pod: str, container: str, *, tty: bool, stdin: bool) -> ExecSession: ...

    async def port_forward(self, namespace: str, pod: str, port: int) -> ByteStream:
        """Connect to a port on the pod's loopback, from inside its network namespace.

        Raises UnavailableError, in the kubelet's words, when nobody takes the connection.
        """
