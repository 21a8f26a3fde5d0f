"""What containers use: CRI v1's ContainerStats, and what the API server asks of the node about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from podhost.cri.ids import ContainerId, PodUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUsage:
    """CRI's CpuUsage.  ``timestamp_ns`` is of the monotonic clock: a rate is a difference of two."""

    timestamp_ns: int
    usage_core_ns: int
    """Consumed since the container was made, on all processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUsage:
    """CRI's MemoryUsage."""

    working_set_bytes: int
    usage_bytes: int
    rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """CRI's FilesystemUsage: what a layer, a log or a volume takes up."""

    used_bytes: int = 0
    inodes: int = 0

    def __add__(self, other: DiskUsage) -> DiskUsage:
        return DiskUsage(used_bytes=self.used_bytes + other.used_bytes, inodes=self.inodes + other.inodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemStats:
    """A part of a file system, and the whole that it is on."""

    used: DiskUsage
    capacity_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IoUsage:
    """Bytes from and to block devices since the container was made."""

    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStats:
    """Of one running container.  ``None``: the host does not count it."""

    id: ContainerId
    pod_uid: PodUID
    name: str
    started_at_ns: int
    """Wall clock."""
    cpu: CpuUsage | None = None
    memory: MemoryUsage | None = None
    io: IoUsage | None = None
    process_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceStats:
    """CRI's NetworkInterfaceUsage: bytes and errors since the interface was made."""

    name: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandboxStats:
    """Of a pod as a whole: its cgroup, its network.  ``None``: the host does not count it."""

    pod_uid: PodUID
    created_at_ns: int
    """Wall clock."""
    cpu: CpuUsage | None = None
    memory: MemoryUsage | None = None
    process_count: int | None = None
    interfaces: tuple[InterfaceStats, ...] = ()
    """None on the host's network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Averages over a window that ended with the sample."""

    window_s: float
    nano_cores: int
    read_bytes_per_s: float = 0.0
    written_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUsage:
    """A sample, and what it grew by."""

    stats: ContainerStats
    rates: Rates | None
    """``None``: the host does not count processor time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUsage:
    """The whole machine."""

    timestamp_ns: int
    """Wall clock."""
    window_s: float
    nano_cores: int
    memory: MemoryUsage
    usage_core_ns: int = 0
    """Consumed since the machine started, on all processors."""


class UsageApi(Protocol):
    """Usage of this node and its pods, measured when asked; nothing is measured while nobody asks.

    The first to ask waits for the window of a second; whoever asks again within a minute does not.
    """

    async def observe_pods(self, pods: Sequence[Mapping[str, Any]]) -> dict[PodUID, tuple[ContainerUsage, ...]]:
        """The running containers of these Pod objects, in the order of their spec; none for a pod without."""

    async def observe_node(self) -> NodeUsage: ...
