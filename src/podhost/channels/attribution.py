"""Who is who in a snapshot: processes to containers, sockets to processes, addresses to names.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podhost.api.objects import is_terminal
from podhost.channels.graph import End, Role
from podhost.channels.snapshot import PodSnapshot

Document = Mapping[str, Any]
_MAX_NAMED_PROCESSES = 3


@dataclass(frozen=True, slots=True)
class Attribution:
    """Look-ups in one snapshot."""

    snapshot: PodSnapshot

    def container_of(self, pid: int) -> str:
        """The container of a process, also of one that has ended and was seen before; else empty."""
        found = self.snapshot.processes.get(pid)
        return found[0] if found else self.snapshot.target.earlier_pids.get(pid, "")

    def describe(self, pid: int) -> str:
        """``nginx[4711]``."""
        found = self.snapshot.processes.get(pid)
        return f"{found[1].name}[{pid}]" if found else f"ended[{pid}]"

    def holders(self, inode: int) -> tuple[int, ...]:
        """Processes that have a socket; its oldest first, which is the one that made it."""
        pids = self.snapshot.socket_owners.get(inode, ())
        return tuple(sorted(pids, key=lambda pid: (self.snapshot.processes[pid][1].start_time, pid)))

    def socket_containers(self, inode: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.container_of(pid) for pid in self.holders(inode)))

    def end_of_pids(self, pids: Iterable[int], role: Role, *, detail: str = "") -> tuple[End, ...]:
        """One end for each container that the processes belong to; those of no container are left out."""
        by_container: dict[str, list[int]] = {}
        for pid in pids:
            container = self.container_of(pid)
            if container:
                by_container.setdefault(container, []).append(pid)
        return tuple(
            End(container=container, role=role, detail=detail, processes=self.name_processes(members))
            for container, members in by_container.items()
        )

    def name_processes(self, pids: Sequence[int]) -> tuple[str, ...]:
        """Names of the first few; the rest is counted."""
        unique = tuple(dict.fromkeys(pids))
        names = tuple(self.describe(pid) for pid in unique[:_MAX_NAMED_PROCESSES])
        left = len(unique) - len(names)
        return (*names, f"and {left} more") if left else names


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Names of addresses outside the pod."""

    pods: Mapping[str, str]
    """Address → ``pod namespace/name``; host-network pods share the node's and are not in it."""
    services: Mapping[tuple[str, int], str]
    """Cluster address and port → ``service namespace/name``."""
    nodes: frozenset[str]

    def name(self, address: str, port: int) -> str:
        return (
            self.services.get((address, port))
            or self.pods.get(address)
            or ("this host" if address in self.nodes else f"outside {address}")
        )


def build_address_book(
    pods: Iterable[Document], services: Iterable[Document], host_addresses: Iterable[str] = ()
) -> AddressBook:
    """From API objects."""
    pod_names: dict[str, str] = {}
    for pod in pods:
        status, spec, metadata = pod.get("status") or {}, pod.get("spec") or {}, pod["metadata"]
        if spec.get("hostNetwork") or is_terminal(pod):
            continue
        for entry in status.get("podIPs") or ():
            pod_names[entry["ip"]] = f"pod {metadata.get('namespace', '')}/{metadata['name']}"
    service_names: dict[tuple[str, int], str] = {}
    for service in services:
        spec, metadata = service.get("spec") or {}, service["metadata"]
        for address in spec.get("clusterIPs") or ():
            for port in spec.get("ports") or ():
                name = f"service {metadata.get('namespace', '')}/{metadata['name']}"
                service_names[(address, int(port["port"]))] = name
    return AddressBook(pod_names, service_names, frozenset(host_addresses))
