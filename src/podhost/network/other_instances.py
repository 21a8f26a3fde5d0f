"""Host ports that other instances of this machine publish: the kernel's tables show them, whatever their data root."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from podhost.cri.runtime import PortMapping
from podhost.linux import nft
from podhost.network.addresses import ports_clash
from podhost.network.rules import HOST_IP_PORTS, HOST_PORTS


async def list_published(own_table: str) -> dict[str, list[PortMapping]]:
    """Host ports by the name of the instance that publishes them; those of ``own_table`` aside.

    Raises:
        CommandError: With nft's words.
    """
    tables = await nft.list_tables_with_map(HOST_PORTS)
    others = sorted(table for table in tables if table.startswith("podhost_") and table != own_table)
    maps = await asyncio.gather(*(nft.list_maps(table) for table in others))
    return {
        table.removeprefix("podhost_").removesuffix("_pods"): read_published(found)
        for table, found in zip(others, maps, strict=True)
    }


def read_published(maps: Mapping[str, Sequence[Any]]) -> list[PortMapping]:
    """The opposite of what :mod:`podhost.network.rules` writes, from nft's JSON."""
    found = []
    for key, target in maps.get(HOST_PORTS, ()):
        protocol, port = key["concat"]
        found.append(_build_port("", protocol, port, target))
    for key, target in maps.get(HOST_IP_PORTS, ()):
        address, protocol, port = key["concat"]
        found.append(_build_port(address, protocol, port, target))
    return found


def find_clash(wanted: Iterable[PortMapping], published: Mapping[str, Sequence[PortMapping]]) -> str | None:
    """What is wrong, such as ``cannot publish host port 80/TCP: it belongs to a pod of instance 'two'``."""
    for port in wanted:
        for instance, held in published.items():
            if any(ports_clash(port, other) for other in held):
                what = f"{port.host_port}/{port.protocol}"
                return f"cannot publish host port {what}: it belongs to a pod of instance {instance!r}"
    return None


def _build_port(address: str, protocol: str, port: int, target: Mapping[str, Any]) -> PortMapping:
    return PortMapping(
        protocol=cast(Literal["TCP", "UDP", "SCTP"], protocol.upper()),
        host_ip=address,
        host_port=port,
        container_port=target["concat"][1],
    )
