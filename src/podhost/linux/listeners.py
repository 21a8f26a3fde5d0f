"""Which process listens on a port of the host; looked up only to name it in an error."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

_LISTEN = "0A"
_UNCONNECTED = "07"


def is_port_free(protocol: Literal["TCP", "UDP"], address: str, port: int) -> bool:
    """Whether a process could listen on it now.  ``address`` empty: on every address."""
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if protocol == "TCP":
            # Connections of an earlier listener in TIME_WAIT do not count; with UDP the flag would hide owners.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def find_port_owner(protocol: Literal["TCP", "UDP"], port: int) -> str | None:
    """Such as ``nginx (pid 123)``; None when nobody is found (it may live in another pid namespace)."""
    inodes = _listening_inodes(protocol.lower(), port)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, wanted):
            return f"{_command(process)} (pid {process.name})"
    return None


def _listening_inodes(protocol: str, port: int) -> set[str]:
    found = set()
    state = _LISTEN if protocol == "tcp" else _UNCONNECTED
    for table in (protocol, f"{protocol}6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(entry) in wanted for entry in (process / "fd").iterdir())
    except OSError:
        return False


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a process"
