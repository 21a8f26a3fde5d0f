"""An instance on disk: its directories, its lock, and its own mount namespace.

All of it happens before the event loop and any thread exist, because a process can only enter a mount
namespace while it has one thread.
"""

from __future__ import annotations

import fcntl
import grp
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from podhost.daemon.settings import DaemonSettings
from podhost.errors import ConflictError, DeniedError
from podhost.linux import cgroup, mount, namespaces
from podhost.linux.fs import ensure_directory, remove_tree, write_atomic
from podhost.linux.null_device import cover_null_device
from podhost.linux.pidfd import boot_id

_log = logging.getLogger(__name__)

SOCKET_GROUP = "podhost"
"""Members may use the socket; that is as good as being root."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What :func:`enter_instance` has taken hold of; the descriptors stay open for the daemon's life."""

    lock_fd: int
    host_mount_namespace_fd: int
    """The mount namespace that the daemon was started in, for undoing the pin."""
    is_new: bool
    """The namespace was made just now: nothing of an earlier daemon is mounted in it."""

    @property
    def host_mount_namespace(self) -> Path:
        """A path by which it can be entered."""
        return Path(f"/proc/self/fd/{self.host_mount_namespace_fd}")


def enter_instance(settings: DaemonSettings) -> Instance:
    """Make the directories, take the lock, go into the pinned mount namespace.

    Raises:
        DeniedError: Not root.
        ConflictError: Another daemon runs this instance.
    """
    if os.geteuid() != 0:
        raise DeniedError("cannot run the daemon: it needs root; run it with sudo")
    ensure_directory(settings.data_root, 0o711)
    ensure_directory(settings.data_dir, 0o700)
    ensure_directory(settings.run_root, 0o755)
    ensure_directory(settings.run_dir, 0o755)
    lock_fd = _take_lock(settings)
    host_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _forget_an_earlier_boot(settings)
        is_new = _enter_mount_namespace(settings)
    except BaseException:
        os.close(host_fd)
        os.close(lock_fd)
        raise
    return Instance(lock_fd, host_fd, is_new)


def _take_lock(settings: DaemonSettings) -> int:
    path = settings.data_dir / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise ConflictError(
            f"cannot run instance {settings.instance!r}: a daemon with pid {owner or 'unknown'} runs it already"
        ) from None
    text = f"{os.getpid()}\n".encode()
    os.pwrite(fd, text, 0)
    os.ftruncate(fd, len(text))  # after: the block of an empty file would be anybody's on a full disk
    return fd


def _forget_an_earlier_boot(settings: DaemonSettings) -> None:
    """Where /run is not a tmpfs, sockets and pins of an earlier boot are still there; they mean nothing."""
    marker = settings.run_dir / "boot-id"
    current = boot_id()
    try:
        if marker.read_text() == current:
            return
    except FileNotFoundError:
        pass
    for entry in settings.run_dir.iterdir():
        mount.unmount_tree(entry)
        remove_tree(entry)
    write_atomic(marker, current.encode(), mode=0o644)


def _enter_mount_namespace(settings: DaemonSettings) -> bool:
    """Enter the instance's mount namespace; make it first when there is none, and say so.

    Mounts of pods live in it, so they never leak to the host, and it outlives the daemon, so that a new
    daemon finds them again.
    """
    pin = settings.mount_namespace_pin
    is_new = not is_pinned(pin)
    if is_new:
        ensure_directory(pin.parent, 0o700)
        namespaces.create_pinned_mount_namespace(pin)
    namespaces.enter_mount_namespace(pin)
    if is_new:
        try:
            cover_null_device(settings.run_dir / "null")
        except OSError as error:
            _log.warning("cannot have a /dev/null apart from the host's: %s", error)
    _prepare_cgroups()
    return is_new


def _prepare_cgroups() -> None:
    try:
        if hidden := cgroup.hide_unwritable():
            _log.warning("cannot use cgroups that are read-only: %s", ", ".join(map(str, hidden)))
    except OSError as error:
        _log.warning("cannot hide cgroups that are read-only: %s", error)
    if cgroup.detect().hybrid:
        # crun refuses the hybrid layout; without the v2 part in view it uses v1, which is where the
        # controllers are.
        mount.unmount(Path("/sys/fs/cgroup/unified"))
    try:
        cgroup.vacate_root()
    except OSError as error:
        # What needs the hierarchy says so itself.
        _log.warning("cannot prepare the cgroup hierarchy for limits of pods: %s", error)


def is_pinned(pin: Path) -> bool:
    """Whether a namespace is bound on the file."""
    return any(entry.mount_point == pin and entry.fstype == "nsfs" for entry in mount.mounts())


def leave_no_trace(settings: DaemonSettings, instance: Instance) -> None:
    """After everything has been removed: drop the pin and the run directory.  The data directory stays."""
    pin = settings.mount_namespace_pin

    def unpin() -> None:
        mount.unmount(pin)
        mount.unmount(pin.parent)
        remove_tree(settings.run_dir)

    namespaces.run_in_namespace(instance.host_mount_namespace, "mnt", unpin)


def socket_group_id() -> int | None:
    """The group that may use the socket, or ``None`` when the host has no such group."""
    try:
        return grp.getgrnam(SOCKET_GROUP).gr_gid
    except KeyError:
        return None
