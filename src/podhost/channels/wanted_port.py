"""Which port a container could not have, from its log, its command and its environment.

Every container that fails has its log looked at, so nothing else of the diagnosis is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]

_IN_USE = re.compile(r"address already in use|EADDRINUSE|Only one usage of each socket address", re.IGNORECASE)
_PORT = re.compile(r"(?::|\bport[ =:]+)(\d{1,5})\b", re.IGNORECASE)
_PORT_WORD = re.compile(r"""(?:^|[\s=:,('"]|(?:^|\s)-[A-Za-z])(\d{1,5})(?=$|[\s:;,)'"&|/])""")


def find_wanted_port(lines: tuple[str, ...]) -> tuple[str, tuple[int, ...]] | None:
    """(log line that says that an address is in use, ports that it and its neighbours name)."""
    for index in range(len(lines) - 1, -1, -1):
        if _IN_USE.search(lines[index]):
            near = (lines[index], *lines[max(0, index - 1) : index + 2])
            ports = [int(text) for line in near for text in _PORT.findall(line) if 0 < int(text) < 65536]
            return lines[index], tuple(dict.fromkeys(ports))
    return None


def find_configured_ports(container: Document) -> tuple[int, ...]:
    """Numbers in a container's command, arguments and environment that may be ports it listens on: a guess."""
    words = (*(container.get("command") or ()), *(container.get("args") or ()))
    values = [str(each.get("value") or "").strip() for each in container.get("env") or ()]
    found = [text for word in words for text in _PORT_WORD.findall(word)] + [
        value for value in values if value.isascii() and value.isdigit()
    ]
    return tuple(dict.fromkeys(port for port in map(int, found) if 0 < port < 65536))
