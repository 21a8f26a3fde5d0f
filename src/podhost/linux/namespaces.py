"""Namespaces without a process in them: held by bind mounts of ``/proc/…/ns/…`` onto files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from podhost.linux import mount
from podhost.linux import syscalls as sys
from podhost.linux.sysctls import find_sysctl_namespace, normalize_sysctl
from podhost.linux.threads import run_in_thread

T = TypeVar("T")

_FLAGS = {
    "net": sys.CLONE_NEWNET,
    "ipc": sys.CLONE_NEWIPC,
    "uts": sys.CLONE_NEWUTS,
    "mnt": sys.CLONE_NEWNS,
    "pid": sys.CLONE_NEWPID,
    "user": sys.CLONE_NEWUSER,
    "cgroup": sys.CLONE_NEWCGROUP,
}
_PINNABLE = ("net", "ipc", "uts")


def pin_namespaces(
    directory: Path,
    kinds: frozenset[str],
    *,
    hostname: str | None = None,
    sysctls: Mapping[str, str] | None = None,
    mqueue_target: Path | None = None,
) -> dict[str, Path]:
    """Make new namespaces and hold them by the files ``directory/<kind>``; blocking, about 2 ms.

    ``kinds`` are of net, ipc and uts.  ``hostname`` needs uts.  ``sysctls`` (``net.ipv4.ip_forward`` → value)
    are written from inside, and the message queues of the new ipc namespace are mounted at ``mqueue_target``.
    On failure nothing stays.

    Raises:
        ValueError: A kind that cannot be pinned, or a setting that would change the host.
        OSError: From the kernel.
    """
    if unknown := kinds - set(_PINNABLE):
        raise ValueError(f"cannot pin namespaces {sorted(unknown)}: only {', '.join(_PINNABLE)} can be")
    if hostname is not None and "uts" not in kinds:
        raise ValueError("cannot set a hostname without a uts namespace of its own")
    if mqueue_target is not None and "ipc" not in kinds:
        raise ValueError("cannot mount mqueue without an ipc namespace of its own")
    for name in sysctls or ():
        if find_sysctl_namespace(name) not in kinds:
            raise ValueError(f"cannot set sysctl {name!r} for a pod: it would change the host's")
    directory.mkdir(parents=True, exist_ok=True)
    files = {kind: directory / kind for kind in _PINNABLE if kind in kinds}

    def pin() -> None:
        sys.unshare(sum(_FLAGS[kind] for kind in kinds))
        for kind, file in files.items():
            file.touch(mode=0o444)
            sys.mount(f"/proc/thread-self/ns/{kind}", file, None, sys.MS_BIND)
        if hostname is not None:
            sys.sethostname(hostname)
        for name, value in (sysctls or {}).items():
            write_sysctl(name, value)
        if mqueue_target is not None:
            mount.mount_mqueue(mqueue_target)

    try:
        run_in_thread(pin)
    except BaseException:
        unpin_namespaces(directory)
        if mqueue_target is not None and mount.is_mount_point(mqueue_target):
            mount.unmount(mqueue_target)
        raise
    return files


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl as the calling thread sees it.  ``/`` in a name stands for itself.  Raises OSError."""
    # The first separator is the one between the parts: net.ipv4.conf.eth0/1 is the interface eth0.1.
    relative = normalize_sysctl(name).translate(str.maketrans("/.", "./"))
    if ".." in Path(relative).parts or relative.startswith("/"):
        raise ValueError(f"cannot set sysctl {name!r}: not a name below /proc/sys")
    fd = os.open(f"/proc/sys/{relative}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        # The call itself knows only the descriptor.
        raise OSError(
            error.errno, f"{os.strerror(error.errno or 0)}, writing {value!r}", f"/proc/sys/{relative}"
        ) from None
    finally:
        os.close(fd)


def unpin_namespaces(directory: Path) -> None:
    """Let the namespaces go that :func:`pin_namespaces` held in ``directory``.  Idempotent."""
    for kind in (*_PINNABLE, "user"):
        file = directory / kind
        while mount.is_mount_point(file):
            mount.unmount(file)
        file.unlink(missing_ok=True)


def run_in_namespace(path: Path, kind: str, fn: Callable[[], T]) -> T:
    """Call ``fn`` in a thread that has entered the namespace at ``path``; blocking.

    The thread ends afterwards, so no later work finds itself in the wrong namespace.  Sockets opened by
    ``fn`` keep belonging to the namespace.  Raises OSError when it cannot be entered, and what ``fn`` raises.
    """

    def enter_and_call() -> T:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if kind == "mnt":
                # A thread that shares root and working directory with others may not change them.
                sys.unshare(sys.CLONE_FS)
            sys.setns(fd, _FLAGS[kind])
        finally:
            os.close(fd)
        return fn()

    return run_in_thread(enter_and_call)


def unshare_mounts() -> None:
    """Give the calling thread a copy of its mount namespace, gone with the thread.  Raises OSError."""
    sys.unshare(sys.CLONE_NEWNS)


def enter_mount_namespace(path: Path) -> None:
    """Move this process into a mount namespace.  Call it before any thread starts.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sys.setns(fd, sys.CLONE_NEWNS)
    finally:
        os.close(fd)
    os.chdir("/")


def create_pinned_mount_namespace(path: Path) -> None:
    """Make a mount namespace that is a slave of ours and hold it by the file ``path``.

    The directory of ``path`` is bound on itself and made private first: the kernel refuses to mount a mount
    namespace on a shared mount, where it could become part of itself.  Nor can it be bound together with what lies
    above it: a pod with a hostPath of ``/run`` would hold the namespace.  Call it before any thread starts.
    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not mount.is_mount_point(path.parent):
        mount.bind_mount(path.parent, path.parent)
    mount.make_unbindable(path.parent)
    path.touch(mode=0o444)
    attempts: list[int | None] = [None, *sorted(os.sched_getaffinity(0))]
    for cpu in attempts:
        try:
            return _pin_new_mount_namespace(path, cpu)
        except OSError as error:
            if error.errno != errno.EINVAL or cpu == attempts[-1]:
                raise


def _pin_new_mount_namespace(path: Path, cpu: int | None) -> None:
    """A namespace is refused (EINVAL) whose number is below that of the one it is mounted in.

    Since Linux 6.18 each processor has numbers of its own to give: where ours is young, as in a container, a new one
    is only sure to have a higher number when the same processor makes it.
    """
    ready_fd, child_ready_fd = os.pipe()
    child_go_fd, go_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold_new_mount_namespace(child_ready_fd, child_go_fd, (ready_fd, go_fd), cpu)
    os.close(child_ready_fd)
    os.close(child_go_fd)
    try:
        report = os.read(ready_fd, 16)
        if report != b"ok":
            number = int(report or b"5")
            raise OSError(number, f"cannot make a mount namespace: {os.strerror(number)}", str(path))
        sys.mount(f"/proc/{pid}/ns/mnt", path, None, sys.MS_BIND)
    finally:
        os.close(ready_fd)
        os.close(go_fd)
        os.waitpid(pid, 0)


def _hold_new_mount_namespace(ready_fd: int, go_fd: int, unwanted_fds: tuple[int, int], cpu: int | None) -> None:
    """In the forked child: make the namespace, then stay until the parent has pinned it.  Never returns."""
    try:
        for fd in unwanted_fds:
            os.close(fd)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        sys.unshare(sys.CLONE_NEWNS)
        mount.make_slave(Path("/"))
        os.write(ready_fd, b"ok")
        os.read(go_fd, 1)
    except OSError as error:
        os.write(ready_fd, str(error.errno).encode())
    finally:
        os._exit(0)
