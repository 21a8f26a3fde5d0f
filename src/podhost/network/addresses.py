"""Who has which pod address and host port: one file an address, read back at start.

Memory decides, inside the event loop and without waiting; the file makes it last.  A file is written before the
link it speaks of exists and erased after the link is gone, so a crash in between leaves a record to clean up by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from podhost.cri.ids import SandboxId
from podhost.cri.runtime import PortMapping
from podhost.errors import ConflictError, ExhaustedError
from podhost.linux import fs


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A sandbox's place in the pod network."""

    sandbox_id: SandboxId
    address: IPv4Address
    netns: Path
    host_ports: tuple[PortMapping, ...] = ()


class AttachmentRecords:
    """All attachments of one instance."""

    def __init__(self, directory: Path, pod_cidr: IPv4Network) -> None:
        self._directory = directory
        self._cidr = pod_cidr
        self._by_id: dict[SandboxId, Attachment] = {}
        self._taken: set[IPv4Address] = set()
        self._last = 1

    def load(self) -> None:
        """Read all files; a broken one, or one outside the range, is removed.  Blocking."""
        fs.ensure_directory(self._directory, 0o700)
        self._by_id.clear()
        self._taken.clear()
        for path in sorted(self._directory.iterdir()):
            attachment = _read(path)
            if attachment is None or attachment.address not in self._cidr:
                path.unlink(missing_ok=True)
                continue
            self._by_id[attachment.sandbox_id] = attachment
            self._taken.add(attachment.address)
            self._last = max(self._last, self._offset(attachment.address))

    def find(self, sandbox_id: SandboxId) -> Attachment | None:
        return self._by_id.get(sandbox_id)

    def all(self) -> list[Attachment]:
        return list(self._by_id.values())

    def reserve(
        self,
        sandbox_id: SandboxId,
        netns: Path,
        host_ports: tuple[PortMapping, ...],
        describe: Callable[[SandboxId], str] = str,
    ) -> Attachment:
        """Take the next free address and the host ports.

        Raises:
            ExhaustedError: No free address.
            ConflictError: A host port is another sandbox's.
        """
        for wanted in host_ports:
            if owner := self._owner(wanted):
                raise ConflictError(
                    f"cannot publish host port {wanted.host_port}/{wanted.protocol}:"
                    f" it belongs to {describe(owner.sandbox_id)}"
                )
        address = self._next_free()
        attachment = Attachment(sandbox_id=sandbox_id, address=address, netns=netns, host_ports=host_ports)
        self._by_id[sandbox_id] = attachment
        self._taken.add(address)
        return attachment

    def forget_ports(self, sandbox_id: SandboxId) -> Attachment | None:
        """Take the sandbox off the books, its host ports free at once; the address stays taken until freed."""
        return self._by_id.pop(sandbox_id, None)

    def free(self, attachment: Attachment) -> None:
        """The address may be given out again."""
        self._taken.discard(attachment.address)

    def save(self, attachment: Attachment) -> None:
        """Write the file.  Blocking."""
        fs.write_atomic(self._path(attachment), json.dumps(_to_json(attachment)).encode())

    def erase(self, attachment: Attachment) -> None:
        """Remove the file.  Blocking, idempotent."""
        self._path(attachment).unlink(missing_ok=True)

    def _path(self, attachment: Attachment) -> Path:
        return self._directory / str(attachment.address)

    def _offset(self, address: IPv4Address) -> int:
        return int(address) - int(self._cidr.network_address)

    def _owner(self, wanted: PortMapping) -> Attachment | None:
        for attachment in self._by_id.values():
            if any(ports_clash(wanted, held) for held in attachment.host_ports):
                return attachment
        return None

    def _next_free(self) -> IPv4Address:
        # Around the range, so that an address just freed is the last to be given out again.  The first two and
        # the last address are the network's, the gateway's and the broadcast address.
        first, usable = 2, self._cidr.num_addresses - 3
        for step in range(1, usable + 1):
            offset = first + (self._last - first + step) % usable
            address = self._cidr[offset]
            if address not in self._taken:
                self._last = offset
                return address
        raise ExhaustedError(f"cannot give out a pod address: all {usable} of {self._cidr} are in use")


def ports_clash(one: PortMapping, other: PortMapping) -> bool:
    """Whether two host ports cannot be had at once; no host address means all of them."""
    if (one.protocol, one.host_port) != (other.protocol, other.host_port):
        return False
    every = ("", "0.0.0.0")
    return one.host_ip in every or other.host_ip in every or one.host_ip == other.host_ip


def find_clash_within(ports: Iterable[PortMapping]) -> PortMapping | None:
    """A host port that a pod asks for twice."""
    seen: list[PortMapping] = []
    for port in ports:
        if any(ports_clash(port, other) for other in seen):
            return port
        seen.append(port)
    return None


def _to_json(attachment: Attachment) -> dict[str, Any]:
    return {
        "sandbox": attachment.sandbox_id,
        "address": str(attachment.address),
        "netns": str(attachment.netns),
        "hostPorts": [[p.protocol, p.host_ip, p.host_port, p.container_port] for p in attachment.host_ports],
    }


def _read(path: Path) -> Attachment | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        ports = tuple(
            PortMapping(protocol=protocol, host_ip=host_ip, host_port=host_port, container_port=container_port)
            for protocol, host_ip, host_port, container_port in raw["hostPorts"]
        )
        return Attachment(
            sandbox_id=SandboxId(raw["sandbox"]),
            address=IPv4Address(raw["address"]),
            netns=Path(raw["netns"]),
            host_ports=ports,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
