"""Processes that belong together, found and killed without a cgroup, for hosts that give none.

Those of a container have its root; an exec's are the descendants of the command that started it. Both look at all of
``/proc``: some milliseconds. What hides on purpose (chroot, or leaving its parent) is found by the first only if it
shares a mount namespace with the others, and by the second not at all: it goes with its container.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from podhost.linux import mount, pidfd

_DEADLINE_S = 10.0


def find_rooted(root: Path) -> set[int]:
    """Processes whose root directory is on the overlay that is mounted at ``root``; empty when none is."""
    return find_all_rooted([root])[root]


def find_all_rooted(roots: Collection[Path]) -> dict[Path, set[int]]:
    """:func:`find_rooted` of each, with one look at ``/proc``."""
    overlays = {each.mount_point for each in mount.mounts() if each.fstype == "overlay"}
    devices = {os.stat(root).st_dev: root for root in roots if root in overlays}
    if os.stat("/").st_dev in devices:
        raise ValueError("cannot tell processes apart by their root: one is that of this process")
    namespaces: dict[int, str] = {}
    found: dict[Path, set[int]] = {root: set() for root in roots}
    for pid in _list_pids() if devices else ():
        with suppress(OSError):
            namespaces[pid] = os.readlink(f"/proc/{pid}/ns/mnt")
            if (root := devices.get(os.stat(f"/proc/{pid}/root").st_dev)) is not None:
                found[root].add(pid)
    own = os.readlink("/proc/self/ns/mnt")
    for members in found.values():
        # One that has gone into a volume is still in the namespace.
        shared = {namespaces[pid] for pid in members} - {own}
        members.update(pid for pid, namespace in namespaces.items() if namespace in shared)
    return found


def find_descendants(pid: int) -> set[int]:
    """The process and all that descends from it."""
    children: dict[int, list[int]] = {}
    for each in _list_pids():
        parent = _read_parent(each)
        if parent is not None:
            children.setdefault(parent, []).append(each)
    found, todo = {pid}, [pid]
    while todo:
        more = children.get(todo.pop(), [])
        found.update(more)
        todo += more
    return found


def kill_rooted(root: Path) -> None:
    """Kill what :func:`find_rooted` finds and wait until it is gone.  Idempotent; blocking.

    Raises TimeoutError when some do not die.
    """
    kill_all(lambda: find_rooted(root), f"with root {root}")


def kill_descendants(pid: int) -> None:
    """Kill a child of ours, which must not have been waited for, and its descendants.  Blocking.

    Raises TimeoutError when some do not die.
    """
    family: set[int] = set()

    def find() -> set[int]:
        # Whose parent has died belongs to another: what was seen before counts on.
        family.update(find_descendants(pid))
        return family

    kill_all(find, f"below {pid}")


def kill_all(find: Callable[[], set[int]], what: str) -> None:
    """Stop all, until no new ones are found, so that none forks away; then kill them, and look again."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        watched = _open_stopped(find)
        try:
            if not watched:
                return
            for fd in watched.values():
                pidfd.send_signal(fd, signal.SIGKILL)
            pidfd.wait_all_exited(watched.values(), deadline)
        finally:
            for fd in watched.values():
                os.close(fd)
        if time.monotonic() > deadline:
            raise TimeoutError(f"cannot kill the processes {what}: {sorted(watched)} do not die")


def _open_stopped(find: Callable[[], set[int]]) -> dict[int, int]:
    """Descriptors of those that live, by pid."""
    watched: dict[int, int] = {}
    while new := pidfd.open_living(find() - set(watched)):
        for fd in new.values():
            pidfd.send_signal(fd, signal.SIGSTOP)
        watched.update(new)
    return watched


def _list_pids() -> Iterable[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read_parent(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(text[text.rindex(")") + 2 :].split()[1])
