"""What went through network interfaces: counters since each was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceCounters:
    """Bytes and errors, both ways."""

    name: str
    received_bytes: int
    receive_errors: int
    sent_bytes: int
    send_errors: int


def read_interface_counters(file: Path = Path("/proc/net/dev")) -> list[InterfaceCounters]:
    """Of a network namespace, without loopback; none when its process is gone.  Blocking."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines[2:]:
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if name.strip() == "lo" or len(numbers) < 11:
            continue
        received, received_errors, sent, sent_errors = (int(numbers[place]) for place in (0, 2, 8, 10))
        found.append(
            InterfaceCounters(
                name=name.strip(),
                received_bytes=received,
                receive_errors=received_errors,
                sent_bytes=sent,
                send_errors=sent_errors,
            )
        )
    return found
