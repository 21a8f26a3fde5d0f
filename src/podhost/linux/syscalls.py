"""One typed function for each system call that Python 3.11's ``os`` lacks.

Each raises OSError with errno and the path concerned.  Calls release the GIL.  The numbers of the newer calls
are the same on all architectures (they were added after the tables were unified), so x86-64 and arm64 share
them; the older calls go through libc.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

CLONE_NEWTIME = 0x00000080
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_FORCE = 0x1
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_SYMLINKS = 0x1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

STATX_ATTR_MOUNT_ROOT = 0x2000

IN_CLOEXEC = os.O_CLOEXEC
IN_NONBLOCK = os.O_NONBLOCK

_SYS_SETRESUID = 147 if platform.machine() == "aarch64" else 117
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.inotify_init1.argtypes = (ctypes.c_int,)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.statx.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_char_p,
)

PathLike = str | bytes | Path


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, call: str, path: PathLike | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        message = f"{call}: {os.strerror(number)}"
        if path is None:
            raise OSError(number, message)
        raise OSError(number, message, os.fsdecode(path))
    return int(result)


def _syscall(number: int, *args: object) -> int:
    # Varargs are passed as int unless told otherwise: give every number its full width.
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return int(_libc.syscall(ctypes.c_long(number), *wide))


def setns(fd: int, nstype: int = 0) -> None:
    """Move the calling thread into a namespace.  CLONE_NEWNS needs a thread that shares no fs state."""
    _check(_libc.setns(fd, nstype), "setns")


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces (or its own fs state: CLONE_FS)."""
    _check(_libc.unshare(flags), "unshare")


def mount(
    source: PathLike | None,
    target: PathLike,
    fstype: str | None = None,
    flags: int = 0,
    data: str | bytes | None = None,
) -> None:
    """mount(2).  ``data`` must stay under one page (4095 bytes)."""
    _check(
        _libc.mount(
            os.fsencode(source if source is not None else "none"),
            os.fsencode(target),
            None if fstype is None else fstype.encode(),
            flags,
            None if data is None else os.fsencode(data),
        ),
        "mount",
        target,
    )


def umount2(target: PathLike, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), "umount", target)


def open_tree(dirfd: int, path: PathLike, flags: int) -> int:
    """A fd of a mount or, with OPEN_TREE_CLONE, of a detached copy of it (closed: gone)."""
    return _check(_syscall(_SYS_OPEN_TREE, dirfd, os.fsencode(path), flags), "open_tree", path)


def move_mount(from_dirfd: int, from_path: PathLike, to_dirfd: int, to_path: PathLike, flags: int) -> None:
    _check(
        _syscall(_SYS_MOVE_MOUNT, from_dirfd, os.fsencode(from_path), to_dirfd, os.fsencode(to_path), flags),
        "move_mount",
        to_path,
    )


def mount_setattr(
    dirfd: int,
    path: PathLike,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change a mount, or with AT_RECURSIVE all below it, in one step (Linux 5.12)."""
    attr = _MountAttr(attr_set, attr_clr, propagation, userns_fd)
    _check(
        _syscall(_SYS_MOUNT_SETATTR, dirfd, os.fsencode(path), flags, ctypes.byref(attr), ctypes.sizeof(attr)),
        "mount_setattr",
        path,
    )


def openat2(dirfd: int, path: PathLike, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open with restricted resolution.  O_CLOEXEC is always set."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return _check(
        _syscall(_SYS_OPENAT2, dirfd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)),
        "openat2",
        path,
    )


def fsopen(fstype: str) -> int:
    """A context in which a new file system is configured."""
    return _check(_syscall(_SYS_FSOPEN, fstype.encode(), FSOPEN_CLOEXEC), "fsopen", fstype)


def fsconfig_string(fd: int, key: str, value: PathLike) -> None:
    """Set one option; the kernel takes at most 255 bytes a value."""
    _check(
        _syscall(_SYS_FSCONFIG, fd, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0),
        f"fsconfig {key}",
        value,
    )


def fsconfig_flag(fd: int, key: str) -> None:
    _check(_syscall(_SYS_FSCONFIG, fd, FSCONFIG_SET_FLAG, key.encode(), None, 0), f"fsconfig {key}")


def fsconfig_create(fd: int) -> None:
    """Make the file system from what was configured."""
    _check(_syscall(_SYS_FSCONFIG, fd, FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig create")


def fsmount(fd: int, attrs: int = 0) -> int:
    """A detached mount of the file system made in the context ``fd``."""
    return _check(_syscall(_SYS_FSMOUNT, fd, FSMOUNT_CLOEXEC, attrs), "fsmount")


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    return _check(_libc.prctl(option, arg2, arg3, arg4, arg5), "prctl")


def set_thread_euid(uid: int) -> None:
    """The effective user of the calling thread alone: the C library's call would change all threads."""
    _check(_syscall(_SYS_SETRESUID, -1, uid, -1), "setresuid")


def sethostname(name: str) -> None:
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def inotify_init1(flags: int = IN_CLOEXEC | IN_NONBLOCK) -> int:
    return _check(_libc.inotify_init1(flags), "inotify_init1")


def inotify_add_watch(fd: int, path: PathLike, mask: int) -> int:
    return _check(_libc.inotify_add_watch(fd, os.fsencode(path), mask), "inotify_add_watch", path)


def inotify_rm_watch(fd: int, wd: int) -> None:
    _check(_libc.inotify_rm_watch(fd, wd), "inotify_rm_watch")


def mq_getattr(fd: int) -> tuple[int, int, int, int]:
    """mq_getattr(3): flags, greatest number of messages, greatest size of one, messages waiting.

    By its number: libc has the function in librt on older systems.
    """
    buffer = (ctypes.c_long * 8)()
    number = 185 if os.uname().machine == "aarch64" else 245
    _check(_syscall(number, fd, 0, ctypes.addressof(buffer)), "mq_getsetattr")
    return buffer[0], buffer[1], buffer[2], buffer[3]


def statx_attributes(dirfd: int, path: PathLike, flags: int) -> int:
    """``stx_attributes`` of a path: STATX_ATTR_MOUNT_ROOT and others."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.statx(dirfd, os.fsencode(path), flags, 0, buffer), "statx", path)
    return int.from_bytes(buffer.raw[8:16], sys.byteorder)
