"""User namespaces of pods, with the namespaces that they own, held by files; and mounts that show other owners.

The kernel gives a new user namespace to processes with one thread only, so a short-lived process makes it:
``unshare`` of util-linux.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from podhost.linux import mount
from podhost.linux import syscalls as sys
from podhost.linux.namespaces import run_in_namespace, write_sysctl
from podhost.linux.sysctls import find_sysctl_namespace

ID_COUNT = 65536
"""Ids of a pod, as the kubelet gives them."""
_LETTERS = {"net": "--net", "ipc": "--ipc", "uts": "--uts"}
_UNSHARE = "/usr/bin/unshare"


def pin_user_namespace(
    directory: Path,
    kinds: frozenset[str],
    first_id: int,
    *,
    hostname: str | None = None,
    sysctls: Mapping[str, str] | None = None,
    mqueue_target: Path | None = None,
) -> dict[str, Path]:
    """Make a user namespace, and others that belong to it, and hold them by ``directory/<kind>``; blocking, 5 ms.

    Ids 0…65535 inside are ``first_id``… outside.  The rest is as of
    :func:`podhost.linux.namespaces.pin_namespaces`.  On failure the caller unpins.

    Raises:
        OSError: From the kernel, or ``unshare`` is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = {kind: directory / kind for kind in ("user", *sorted(kinds))}
    input_fd, our_input_fd = os.pipe()
    our_output_fd, output_fd = os.pipe()
    argv = [_UNSHARE, "--user", *(_LETTERS[kind] for kind in sorted(kinds)), "sh", "-c", "echo; read x"]
    redirect = [(os.POSIX_SPAWN_DUP2, input_fd, 0), (os.POSIX_SPAWN_DUP2, output_fd, 1)]
    try:
        pid = os.posix_spawn(_UNSHARE, argv, {"PATH": "/usr/bin:/bin"}, file_actions=redirect)
    finally:
        os.close(input_fd)
        os.close(output_fd)
    try:
        if not os.read(our_output_fd, 1):
            raise OSError(0, f"cannot make a user namespace: {' '.join(argv[:2])} failed")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {first_id} {ID_COUNT}\n")
        for kind, file in files.items():
            file.touch(mode=0o444)
            sys.mount(f"/proc/{pid}/ns/{kind}", file, None, sys.MS_BIND)
    finally:
        os.close(our_input_fd)
        os.close(our_output_fd)
        os.waitpid(pid, 0)
    _set_up(files, first_id, hostname, sysctls or {}, mqueue_target)
    return files


def _set_up(
    files: Mapping[str, Path],
    first_id: int,
    hostname: str | None,
    sysctls: Mapping[str, str],
    mqueue_target: Path | None,
) -> None:
    """From a thread that has entered one namespace after the other; the user namespace is not needed for it."""

    def inside() -> None:
        if hostname is not None:
            sys.sethostname(hostname)
        if mqueue_target is not None:
            mount.mount_mqueue(mqueue_target)
        of_ipc = {name: value for name, value in sysctls.items() if find_sysctl_namespace(name) == "ipc"}
        for name in sysctls.keys() - of_ipc.keys():
            write_sysctl(name, sysctls[name])
        if of_ipc:
            # These look at the owner, who is the namespace's root, and at no capability.  The thread ends with this.
            sys.set_thread_euid(first_id)
        for name, value in of_ipc.items():
            write_sysctl(name, value)

    # Each runs in a thread of its own, which begins in the namespaces of the one that made it.
    step: Callable[[], None] = inside
    for kind in ("net", "ipc", "uts"):
        if kind in files:
            step = _entering(files[kind], kind, step)
    step()


def _entering(file: Path, kind: str, step: Callable[[], None]) -> Callable[[], None]:
    return lambda: run_in_namespace(file, kind, step)


def map_mount(source: Path, target: Path, user_namespace: Path, *, recursive: bool = True) -> None:
    """Show ``source`` at ``target`` as the user namespace sees its ids: what 0 owns outside, its 0 owns.

    ``target`` is made.  Raises OSError; EINVAL where the file system cannot do it.
    """
    make = sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC
    tree_fd = sys.open_tree(sys.AT_FDCWD, source, make | (sys.AT_RECURSIVE if recursive else 0))
    try:
        namespace_fd = os.open(user_namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            flags = sys.AT_EMPTY_PATH | (sys.AT_RECURSIVE if recursive else 0)
            sys.mount_setattr(tree_fd, "", flags, attr_set=sys.MOUNT_ATTR_IDMAP, userns_fd=namespace_fd)
        finally:
            os.close(namespace_fd)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        if os.path.isdir(source):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        sys.move_mount(tree_fd, "", sys.AT_FDCWD, target, sys.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree_fd)
