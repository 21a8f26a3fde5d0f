"""What this machine is called: its operating system's name and its ids, as a node's status shows them."""

from __future__ import annotations

import shlex
from pathlib import Path

_ROOT = Path("/")


def read_os_name(root: Path = _ROOT) -> str:
    """``PRETTY_NAME`` of os-release, ``Linux`` where there is none."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        for line in _read(root / place).splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "PRETTY_NAME":
                return _unquote(value)
    return "Linux"


def read_machine_id(root: Path = _ROOT) -> str:
    """The id that the installation has; empty where it has none."""
    return _read(root / "etc/machine-id").strip()


def read_system_uuid(root: Path = _ROOT) -> str:
    """The firmware's id of the machine; without one, as in many containers and on many arm64 boards, the machine id."""
    return _read(root / "sys/class/dmi/id/product_uuid").strip() or read_machine_id(root)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _unquote(value: str) -> str:
    """As a shell would read it."""
    try:
        return " ".join(shlex.split(value)) or "Linux"
    except ValueError:
        return value.strip()
