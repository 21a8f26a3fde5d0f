"""A place to start processes from that do not see what is mounted for pods.

A program that reads ``/proc/mounts`` pays for each line, and crun reads it at each start, to learn of SELinux: beside
800 mounts an exec costs twice what it costs beside 100.  One thread has a copy of the mount namespace from which the
mounts below given directories are taken out; processes that it starts are born there.  Later mounts do not show in
it, and the copy ends with the thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from podhost.linux import mount
from podhost.linux import syscalls as sys

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HiddenMounts:
    """What is taken out: mounts below ``below``, except those that ``needed`` lie on."""

    below: Sequence[Path]
    needed: Sequence[Path]


def compute_hidden(mount_points: Sequence[Path], hidden: HiddenMounts) -> list[Path]:
    """The mount points to take out, what was mounted last first; pure."""
    return [
        point
        for point in reversed(mount_points)
        if any(root != point and point.is_relative_to(root) for root in hidden.below)
        and not any(path.is_relative_to(point) for path in hidden.needed)
    ]


def create_bare_launcher(hidden: HiddenMounts) -> Executor:
    """For :func:`podhost.linux.spawn.start`.  The thread starts with the first process; shut it down in the end.

    Where the copy cannot be made, processes are started among all mounts.
    """
    return ThreadPoolExecutor(1, "podhost-launcher", initializer=_leave_mounts, initargs=(hidden,))


def _leave_mounts(hidden: HiddenMounts) -> None:
    try:
        # A thread that shares root and working directory with others may not change its mounts.
        sys.unshare(sys.CLONE_FS | sys.CLONE_NEWNS)
        mount.make_slave(Path("/"))
        for point in compute_hidden([item.mount_point for item in mount.mounts()], hidden):
            mount.unmount(point)
    except OSError as error:
        _log.warning("commands in containers are started among all mounts, which takes longer: %s", error)
