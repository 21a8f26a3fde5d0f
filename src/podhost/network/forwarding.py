"""``net.ipv4.ip_forward`` is the machine's, not an instance's: on while any instance needs it, then as before.

The record is shared by all instances and lies in a directory that is emptied at boot, as the sysctl itself is.
"""

from __future__ import annotations

import fcntl
import json
import os
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


def release_forwarding(shared_dir: Path, holder: str, *, needed_elsewhere: bool = False) -> None:
    """Need it no longer; the last holder restores what it found.  Idempotent, blocking.

    ``needed_elsewhere``: somebody who keeps his record in another place still forwards.
    """
    with _locked(shared_dir) as path:
        previous, holders = _read(path)
        if holder not in holders:
            return
        holders.discard(holder)
        if holders:
            _write(path, previous, holders)
            return
        fs.remove_tree(shared_dir)
        if previous == "0" and not needed_elsewhere:
            write_sysctl(_SYSCTL, "0")


@contextmanager
def _locked(shared_dir: Path) -> Iterator[Path]:
    path = shared_dir / "lock"
    while True:
        fs.ensure_directory(shared_dir, 0o700)
        try:
            lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            # The last holder may have removed it while we waited.
            if _is_same_file(path, lock_fd):
                yield shared_dir / "ip_forward.json"
                return
        finally:
            os.close(lock_fd)


def _is_same_file(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _read(path: Path) -> tuple[str, set[str]]:
    try:
        raw = json.loads(path.read_text(encoding="ascii"))
        return str(raw["previous"]), {str(holder) for holder in raw["holders"]}
    except (OSError, ValueError, KeyError, TypeError):
        return "1", set()


def _write(path: Path, previous: str, holders: set[str]) -> None:
    fs.write_atomic(path, json.dumps({"previous": previous, "holders": sorted(holders)}).encode())
