"""The graph of one pod's channels: what the API sends and what every drawing is made from.

The JSON form (camelCase) is the content of the ``PodChannels`` resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

API_VERSION = "podhost.dev/v1alpha1"
KIND = "PodChannels"

ChannelKind = Literal[
    "tcp",
    "udp",
    "unix",
    "sysv-queue",
    "sysv-semaphores",
    "sysv-shm",
    "posix-queue",
    "posix-shm",
    "fifo",
    "volume",
    "pid-namespace",
]
Role = Literal["server", "client", "sender", "receiver", "writer", "reader", "user"]


class _Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Common options of the graph's values."""


class ProcessNode(_Value, frozen=True, kw_only=True):
    pid: int
    """On the host."""
    inner_pid: int
    """As the container sees it."""
    parent: int = 0
    """On the host; 0 when the parent is outside the pod."""
    name: str
    command: str = ""


class ContainerNode(_Value, frozen=True, kw_only=True):
    name: str
    state: str
    pid: int = 0
    processes: tuple[ProcessNode, ...] = ()


class Listener(_Value, frozen=True, kw_only=True):
    """A socket that waits for others."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    container: str = ""
    """Empty when the holder is none of the pod's containers."""
    pid: int = 0
    process: str = ""
    port_name: str = ""
    """Of the declared containerPort; ``declared`` says whether there is one."""
    declared: bool = False
    services: tuple[str, ...] = ()
    """``namespace/name`` of Services that lead here."""

    @property
    def is_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address == "::1"

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:80``, ``*:80``."""
        address = "*" if self.address in ("0.0.0.0", "::", "*") else self.address
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"


class End(_Value, frozen=True, kw_only=True):
    """One participant of a channel: a container of the pod, or a peer outside it."""

    container: str = ""
    peer: str = ""
    role: Role = "user"
    detail: str = ""
    """Where a volume is mounted and how; what a process has open."""
    processes: tuple[str, ...] = ()
    """``nginx[4711]``, numbers of the host."""

    @property
    def place(self) -> str:
        """Identifies container or peer among the drawn columns."""
        return self.container or self.peer


class Channel(_Value, frozen=True, kw_only=True):
    id: str
    kind: ChannelKind
    name: str
    """Address, key, path or volume."""
    summary: str = ""
    """Sizes, messages waiting, number of connections."""
    facts: Mapping[str, str | int] = {}
    ends: tuple[End, ...] = ()
    problems: tuple[str, ...] = ()
    """Codes of the problems that concern it."""


class Problem(_Value, frozen=True, kw_only=True):
    code: str
    severity: Literal["error", "warning"]
    message: str
    evidence: tuple[str, ...] = ()
    suggestion: str = ""
    containers: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    """Ids of the channels that it speaks of."""


class ChannelGraph(_Value, frozen=True, kw_only=True):
    namespace: str
    name: str
    uid: str = ""
    observed_at: str = ""
    addresses: tuple[str, ...] = ()
    containers: tuple[ContainerNode, ...] = ()
    listeners: tuple[Listener, ...] = ()
    channels: tuple[Channel, ...] = ()
    problems: tuple[Problem, ...] = ()
    gaps: tuple[str, ...] = ()
    """What could not be observed, and why."""

    @property
    def peers(self) -> tuple[str, ...]:
        """Everyone outside the pod, in the order of the channels."""
        return tuple(dict.fromkeys(end.peer for channel in self.channels for end in channel.ends if end.peer))


_CONTENT = ("observedAt", "addresses", "containers", "listeners", "channels", "problems", "gaps")


def build_document(graph: ChannelGraph, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The resource; ``metadata`` is what its pod lends it."""
    content: dict[str, Any] = msgspec.to_builtins(graph)
    head = {"apiVersion": API_VERSION, "kind": KIND, "metadata": dict(metadata)}
    return head | {name: content.get(name, "" if name == "observedAt" else []) for name in _CONTENT}


def read_document(document: Mapping[str, Any]) -> ChannelGraph:
    """The graph of a resource.  Raises ValueError (msgspec.ValidationError) for what is none."""
    metadata = document.get("metadata") or {}
    identity = {"namespace": metadata.get("namespace", ""), "name": metadata.get("name", "")}
    content = {name: document[name] for name in _CONTENT if name in document}
    return msgspec.convert({**identity, "uid": metadata.get("uid", ""), **content}, ChannelGraph)
