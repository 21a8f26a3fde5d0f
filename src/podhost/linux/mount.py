"""Mounts: bind, tmpfs, overlay, mqueue; unmounting; what is mounted.

Bind mounts are made with ``open_tree`` and ``move_mount``: attributes are set before anybody can see the
mount, and the source can be held by a file descriptor.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podhost.linux import syscalls as sys
from podhost.linux.threads import run_in_thread

_MOUNT_DATA_MAX = 4000
"""mount(2) copies one page of options; stay clear of its end."""
_FSCONFIG_VALUE_MAX = 255
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountInfo:
    """One line of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5))."""

    mount_id: int
    parent_id: int
    root: str
    """Path within the file system that is the root of this mount."""
    mount_point: Path
    fstype: str
    source: str
    options: frozenset[str]
    """Of the mount: ``ro``, ``nosuid`` …"""
    propagation: frozenset[str]
    """``shared:N``, ``master:N`` …; empty for a private mount."""
    super_options: frozenset[str] = frozenset()


def bind_mount(source: Path, target: Path, *, read_only: bool = False, recursive: bool = True) -> None:
    """Show ``source`` (a file or a directory) at ``target``, which must exist and be of the same sort.

    Mounts arriving later on a shared source follow to the target.  Raises OSError.
    """
    flags = sys.OPEN_TREE_CLONE | (sys.AT_RECURSIVE if recursive else 0)
    tree_fd = sys.open_tree(sys.AT_FDCWD, source, flags | sys.OPEN_TREE_CLOEXEC)
    try:
        _attach_tree(tree_fd, target, read_only=read_only, recursive=recursive)
    finally:
        os.close(tree_fd)


def bind_mount_fd(source_fd: int, target: Path, *, read_only: bool = False, recursive: bool = True) -> None:
    """Show the file or directory open at ``source_fd`` (O_PATH suffices) at ``target``.

    What the descriptor refers to is mounted, whatever has happened to its path since.  Raises OSError.
    """
    flags = sys.OPEN_TREE_CLONE | sys.AT_EMPTY_PATH | (sys.AT_RECURSIVE if recursive else 0)
    tree_fd = sys.open_tree(source_fd, "", flags | sys.OPEN_TREE_CLOEXEC)
    try:
        _attach_tree(tree_fd, target, read_only=read_only, recursive=recursive)
    finally:
        os.close(tree_fd)


def clone_tree(source: Path) -> int:
    """A descriptor of a copy of all that is mounted at and below ``source``, itself mounted nowhere.

    Where a mount is shared its copy is its peer, in whichever namespace it ends up.  Raises OSError.
    """
    flags = sys.OPEN_TREE_CLONE | sys.AT_RECURSIVE | sys.OPEN_TREE_CLOEXEC
    return sys.open_tree(sys.AT_FDCWD, source, flags)


def attach_tree(tree_fd: int, target: Path) -> None:
    """Mount what :func:`clone_tree` made.  Raises OSError."""
    _attach_tree(tree_fd, target, read_only=False, recursive=True)


def _attach_tree(tree_fd: int, target: Path, *, read_only: bool, recursive: bool) -> None:
    if read_only:
        flags = sys.AT_EMPTY_PATH | (sys.AT_RECURSIVE if recursive else 0)
        sys.mount_setattr(tree_fd, "", flags, attr_set=sys.MOUNT_ATTR_RDONLY)
    sys.move_mount(tree_fd, "", sys.AT_FDCWD, target, sys.MOVE_MOUNT_F_EMPTY_PATH)


def mount_tmpfs(
    target: Path,
    *,
    size_bytes: int | None,
    mode: int = 0o777,
    uid: int | None = None,
    gid: int | None = None,
    swap: bool = True,
) -> None:
    """Mount a new tmpfs; without a size it may take half of the memory.

    Without ``swap`` its contents never reach a disk, where the kernel can promise that (Linux 6.4).
    Raises OSError.
    """
    options = f"mode={mode:o}"
    if size_bytes is not None:
        options += f",size={size_bytes}"
    if uid is not None:
        options += f",uid={uid}"
    if gid is not None:
        options += f",gid={gid}"
    if not swap:
        try:
            sys.mount("tmpfs", target, "tmpfs", 0, options + ",noswap")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return
    sys.mount("tmpfs", target, "tmpfs", 0, options)


def mount_huge_pages(target: Path, *, page_bytes: int, mode: int = 0o777, gid: int | None = None) -> None:
    """Mount a file system whose files are huge pages of one size.  Raises OSError."""
    options = f"pagesize={page_bytes // 1024}K,mode={mode:o}"
    if gid is not None:
        options += f",gid={gid}"
    sys.mount("nodev", target, "hugetlbfs", 0, options)


def mount_mqueue(target: Path) -> None:
    """Mount the POSIX message queues of the calling thread's IPC namespace.  Raises OSError."""
    sys.mount("mqueue", target, "mqueue", sys.MS_NOSUID | sys.MS_NODEV | sys.MS_NOEXEC)


@contextmanager
def open_detached(fstype: str) -> Iterator[int]:
    """A directory descriptor of a file system; its mount is nowhere in the tree and ends with it.

    Raises:
        OSError: The kernel has no such file system, or does not let us.
    """
    context_fd = sys.fsopen(fstype)
    try:
        sys.fsconfig_create(context_fd)
        mount_fd = sys.fsmount(context_fd)
    finally:
        os.close(context_fd)
    try:
        # That of fsmount only names the place (O_PATH); it cannot be listed.
        root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
    finally:
        os.close(mount_fd)
    try:
        yield root_fd
    finally:
        os.close(root_fd)


def mount_overlay(
    target: Path,
    lower_dirs: Sequence[Path],
    upper_dir: Path,
    work_dir: Path,
    *,
    options: Sequence[str] = (),
) -> None:
    """Mount an overlay; ``lower_dirs`` has the top layer first and may be long.

    Raises:
        OSError: From the kernel; ``E2BIG`` when even relative paths do not fit.
    """
    data = build_overlay_options(lower_dirs, upper_dir, work_dir, options)
    if len(data) <= _MOUNT_DATA_MAX:
        sys.mount("overlay", target, "overlay", 0, data)
        return
    try:
        _mount_overlay_by_parts(target, lower_dirs, upper_dir, work_dir, options)
    except OSError as error:
        # Before Linux 6.8 there is no "lowerdir+", and before 5.2 no fsopen.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        run_in_thread(lambda: _mount_overlay_relative(target, lower_dirs, upper_dir, work_dir, options))


def build_label_option(label: str) -> str:
    """All files of the file system have this label of SELinux.  Its commas are no separators between quotes."""
    return f'context="{label}"'


def build_overlay_options(
    lower_dirs: Sequence[Path | str], upper_dir: Path, work_dir: Path, options: Sequence[str] = ()
) -> bytes:
    """Option string for mount(2), with overlayfs' escapes for ``:``, ``,`` and backslash."""
    lower = b":".join(_escape(os.fsencode(path), b"\\:,") for path in lower_dirs)
    parts = [b"lowerdir=" + lower]
    parts.append(b"upperdir=" + _escape(os.fsencode(upper_dir), b"\\,"))
    parts.append(b"workdir=" + _escape(os.fsencode(work_dir), b"\\,"))
    parts.extend(option.encode() for option in options)
    return b",".join(parts)


def _escape(raw: bytes, special: bytes) -> bytes:
    for char in special:
        raw = raw.replace(bytes([char]), b"\\" + bytes([char]))
    return raw


def _mount_overlay_by_parts(
    target: Path, lower_dirs: Sequence[Path], upper_dir: Path, work_dir: Path, options: Sequence[str]
) -> None:
    """Hand over each directory by itself, so that only the single path is limited."""
    if any(len(os.fsencode(path)) > _FSCONFIG_VALUE_MAX for path in (*lower_dirs, upper_dir, work_dir)):
        raise OSError(errno.EINVAL, "path too long for fsconfig", str(target))
    context_fd = sys.fsopen("overlay")
    try:
        for path in lower_dirs:
            sys.fsconfig_string(context_fd, "lowerdir+", path)
        sys.fsconfig_string(context_fd, "upperdir", upper_dir)
        sys.fsconfig_string(context_fd, "workdir", work_dir)
        sys.fsconfig_string(context_fd, "source", "overlay")
        for option in options:
            key, separator, value = option.partition("=")
            if separator:
                sys.fsconfig_string(context_fd, key, value.strip('"'))
            else:
                sys.fsconfig_flag(context_fd, key)
        sys.fsconfig_create(context_fd)
        mount_fd = sys.fsmount(context_fd)
    finally:
        os.close(context_fd)
    try:
        sys.move_mount(mount_fd, "", sys.AT_FDCWD, target, sys.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(mount_fd)


def _mount_overlay_relative(
    target: Path, lower_dirs: Sequence[Path], upper_dir: Path, work_dir: Path, options: Sequence[str]
) -> None:
    """For older kernels: name the layers relative to the directory that they share."""
    shared = os.path.commonpath([str(path) for path in lower_dirs])
    relative = [os.path.relpath(path, shared) for path in lower_dirs]
    data = build_overlay_options(relative, upper_dir, work_dir, options)
    if len(data) > _MOUNT_DATA_MAX:
        raise OSError(errno.E2BIG, f"{len(lower_dirs)} layers do not fit into the mount options", str(target))
    # The working directory belongs to the process unless the thread gives up sharing it.
    sys.unshare(sys.CLONE_FS)
    os.chdir(shared)
    sys.mount("overlay", target, "overlay", 0, data)


def unmount(target: Path, *, detach: bool = True) -> None:
    """Unmount what is on top at ``target``; nothing mounted there, or nothing there, is fine.

    Never follows a symlink at the end of the path.  Raises OSError (``EBUSY`` only without ``detach``).
    """
    flags = sys.UMOUNT_NOFOLLOW | (sys.MNT_DETACH if detach else 0)
    try:
        sys.umount2(target, flags)
    except OSError as error:
        # EINVAL: not a mount point.  ENOTDIR: a component of the path is no longer a directory.
        if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            raise


def unmount_alone(target: Path) -> None:
    """Unmount what is at ``target`` with all below it, here only: an unmount under a shared mount reaches its peers,
    and those of a hostPath are the host's.  Idempotent.

    What lies on a shared mount at the same place can only be taken away with a private mount above both.
    Raises OSError.
    """
    if is_mount_point(target):
        make_private(target, recursive=True)
        unmount(target)


def unmount_tree(root: Path) -> None:
    """Unmount everything at or below ``root``, deepest first, stacked mounts too, here only.  Idempotent."""
    prefix = str(root)
    found = [info for info in mounts(at=root) if _is_at_or_below(str(info.mount_point), prefix)]
    # mountinfo lists a mount after those that it lies on.
    for info in reversed(found):
        unmount_alone(info.mount_point)


def _is_at_or_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def is_mount_point(path: Path) -> bool:
    """Whether a mount's root is seen at ``path`` itself (bind mounts included); False when it is absent."""
    try:
        attributes = sys.statx_attributes(sys.AT_FDCWD, path, sys.AT_SYMLINK_NOFOLLOW | sys.AT_NO_AUTOMOUNT)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(attributes & sys.STATX_ATTR_MOUNT_ROOT)


def mounts(*, at: Path | None = None) -> list[MountInfo]:
    """Mounts of the calling thread's namespace, in the order in which they were put on top of each other.

    With ``at`` only some are read, which include all at or below that path: there may be thousands.
    """
    # A name that has none of these bytes is written as it is; others as three octal digits.
    plain = "" if at is None or set(str(at)) & set(" \t\n\\#") else str(at)
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [parse_mountinfo_line(line) for line in file if plain in line]


def find_mount(path: Path) -> MountInfo:
    """The mount on which ``path`` lies as the calling thread sees it, or the nearest directory above that is there.

    Raises:
        OSError: Not even the root can be opened.
    """
    for place in (path, *path.parents):
        try:
            fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            text = Path(f"/proc/thread-self/fdinfo/{fd}").read_text()
        finally:
            os.close(fd)
        mount_id = int(text.partition("mnt_id:")[2].split()[0])
        for info in mounts():
            if info.mount_id == mount_id:
                return info
    raise FileNotFoundError(errno.ENOENT, "no mount is there", str(path))


def parse_mountinfo_line(line: str) -> MountInfo:
    """Parse one line of mountinfo."""
    fields = line.rstrip("\n").split(" ")
    separator = fields.index("-", 6)
    super_options = fields[separator + 3].split(",") if len(fields) > separator + 3 else ()
    return MountInfo(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        root=_unescape(fields[3]),
        mount_point=Path(_unescape(fields[4])),
        options=frozenset(fields[5].split(",")),
        propagation=frozenset(fields[6:separator]),
        fstype=fields[separator + 1],
        source=_unescape(fields[separator + 2]),
        super_options=frozenset(super_options),
    )


def _unescape(text: str) -> str:
    return _OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


def forbid_devices(path: Path) -> None:
    """No device can be opened there.  ``path`` must be a mount point.  Raises OSError."""
    sys.mount_setattr(sys.AT_FDCWD, path, 0, attr_set=sys.MOUNT_ATTR_NODEV)


def make_slave(path: Path, *, recursive: bool = True) -> None:
    """Mounts made on the host's side arrive here, none goes back.  ``path`` must be a mount point."""
    sys.mount(None, path, None, sys.MS_SLAVE | (sys.MS_REC if recursive else 0))


def make_private(path: Path, *, recursive: bool = False) -> None:
    """Nothing arrives and nothing goes out.  ``path`` must be a mount point."""
    sys.mount(None, path, None, sys.MS_PRIVATE | (sys.MS_REC if recursive else 0))


def ensure_private_mount(directory: Path) -> None:
    """Make a directory a mount of its own, so that :func:`unmount_alone` takes all below it.  Raises OSError."""
    if not is_mount_point(directory):
        bind_mount(directory, directory)
    make_private(directory)


def make_unbindable(path: Path) -> None:
    """Private, and left out where what lies above it is bound elsewhere.  ``path`` must be a mount point."""
    sys.mount(None, path, None, sys.MS_UNBINDABLE)


def make_shared(path: Path, *, recursive: bool = True) -> None:
    """Mounts made below ``path`` also appear in its copies in other namespaces."""
    sys.mount(None, path, None, sys.MS_SHARED | (sys.MS_REC if recursive else 0))
