"""``net.ipv4.ip_forward`` is the machine's, not an instance's: on while any instance needs it, then as before.

The record is shared by all instances and lies in a directory that is emptied at boot, as the sysctl itself is.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podhost.linux import fs
from podhost.linux.netlink import read_sysctl, write_sysctl

_SYSCTL = "net/ipv4/ip_forward"


def enable_forwarding(shared_dir: Path, holder: str) -> None:
    """Switch it on and be recorded as needing it.  Idempotent, blocking."""
    with _locked(shared_dir) as path:
        previous, holders = _read(path)
        if not holders:
            previous = read_sysctl(_SYSCTL) or "0"
        _write(path, previous, holders | {holder})
        write_sysctl(_SYSCTL, "1")


def release_forwarding(shared_dir: Path, holder: str) -> None:
    """Need it no longer; the last holder restores what it found.  Idempotent, blocking."""
    with _locked(shared_dir) as path:
        previous, holders = _read(path)
        if holder not in holders:
            return
        holders.discard(holder)
        if holders:
            _write(path, previous, holders)
            return
        path.unlink(missing_ok=True)
        if previous == "0":
            write_sysctl(_SYSCTL, "0")


@contextmanager
def _locked(shared_dir: Path) -> Iterator[Path]:
    fs.ensure_directory(shared_dir, 0o700)
    with open(shared_dir / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared_dir / "ip_forward.json"


def _read(path: Path) -> tuple[str, set[str]]:
    try:
        raw = json.loads(path.read_text(encoding="ascii"))
        return str(raw["previous"]), {str(holder) for holder in raw["holders"]}
    except (OSError, ValueError, KeyError, TypeError):
        return "1", set()


def _write(path: Path, previous: str, holders: set[str]) -> None:
    fs.write_atomic(path, json.dumps({"previous": previous, "holders": sorted(holders)}).encode())
