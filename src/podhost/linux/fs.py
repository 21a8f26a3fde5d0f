"""Files and trees on the host: atomic writes, removal that cannot be led astray, sizes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from podhost.linux import mount
from podhost.linux import syscalls as sys

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE_FL = 0x10
_FS_APPEND_FL = 0x20

_DEPTH_MAX = 32
"""Deeper directories are first moved up, so that the number of open descriptors stays bounded."""
_ROUNDS_MAX = 1000
"""How often a directory is listed again when others keep creating files in it."""


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, fsync: bool = False) -> None:
    """Replace ``path`` in one step: readers see the old content or the new.  Raises OSError.

    ``fsync`` also makes it survive a loss of power.
    """
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name[:200]}.", dir=path.parent)
    try:
        try:
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if fsync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if fsync:
        _fsync_directory(path.parent)


def _fsync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure_directory(path: Path, mode: int = 0o755) -> None:
    """Make the directory with its parents; ``mode`` is set exactly, whatever the umask, also on an old one.

    Raises:
        NotADirectoryError: Something else is there, or a symlink.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        pass
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path)) from error
        raise
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def find_existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


@dataclass(frozen=True, slots=True)
class TreeUse:
    """What a tree takes up on its file system."""

    allocated_bytes: int = 0
    inodes: int = 0


def measure_tree(path: Path) -> TreeUse:
    """Bytes and inodes allocated to a tree, hard links once, without other file systems; nothing when it is absent."""
    try:
        top = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return TreeUse()
    blocks, inodes = top.st_blocks, 1
    linked: set[int] = set()
    waiting = [os.fspath(path)] if stat.S_ISDIR(top.st_mode) else []
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if info.st_dev != top.st_dev:
                    continue
                if stat.S_ISDIR(info.st_mode):
                    waiting.append(entry.path)
                elif info.st_nlink > 1:
                    if info.st_ino in linked:
                        continue
                    linked.add(info.st_ino)
                blocks += info.st_blocks
                inodes += 1
    return TreeUse(blocks * 512, inodes)


@dataclass(slots=True)
class _Removal:
    """State of one :func:`remove_tree`."""

    top_fd: int
    top: Path
    moved_up: list[str] = field(default_factory=list)
    counter: int = 0
    error: OSError | None = None

    def keep_error(self, error: OSError, name: str) -> None:
        if self.error is None:
            self.error = OSError(error.errno, error.strerror, f"{self.top}: {name}")


def remove_tree(path: Path) -> None:
    """Delete a file or a tree.  Absent is fine.

    Walks by descriptors: symlinks are deleted, never followed, and mount points are never entered, whatever
    others rename meanwhile.  Immutable and append-only flags are cleared.  Depth is not limited.  What can be
    deleted is, even when something else cannot.

    Raises:
        OSError: The first thing that could not be deleted; EBUSY for a mount point.
    """
    if mount.is_mount_point(path):
        raise OSError(errno.EBUSY, "is a mount point", str(path))
    try:
        parent_fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        try:
            top_fd = _open_directory(parent_fd, path.name)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            _unlink(parent_fd, path.name)
            return
        try:
            removal = _Removal(top_fd, path)
            _empty(removal, top_fd, depth=0)
            while removal.moved_up:
                _remove_directory(removal, top_fd, removal.moved_up.pop(), depth=1)
        finally:
            os.close(top_fd)
        if removal.error is not None:
            raise removal.error
        _retry_unlocked(lambda: os.rmdir(path.name, dir_fd=parent_fd), parent_fd, path.name)
    finally:
        os.close(parent_fd)


def _open_directory(parent_fd: int, name: str) -> int:
    """Raises NotADirectoryError for anything else, and OSError EXDEV for a mount point."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME
    try:
        return sys.openat2(parent_fd, name, flags, 0, sys.RESOLVE_NO_XDEV | sys.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "is a symlink", name) from error
        raise


def _empty(removal: _Removal, fd: int, depth: int) -> None:
    """Delete all entries of a directory; lists again while deleting makes progress."""
    for _ in range(_ROUNDS_MAX):
        with os.scandir(fd) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        progress = False
        for name, is_directory in names:
            if depth == 0 and name in removal.moved_up:
                continue
            try:
                if is_directory:
                    progress |= _remove_directory(removal, fd, name, depth + 1)
                else:
                    _unlink(fd, name)
                    progress = True
            except IsADirectoryError:
                progress = True
            except OSError as error:
                removal.keep_error(error, name)
        if not progress:
            return


def _remove_directory(removal: _Removal, parent_fd: int, name: str, depth: int) -> bool:
    """Returns whether the entry is gone from its parent, or will be after another round."""
    if depth > _DEPTH_MAX and _move_up(removal, parent_fd, name):
        return True
    try:
        fd = _open_directory(parent_fd, name)
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        _unlink(parent_fd, name)
        return True
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "is a mount point", name) from error
        raise
    try:
        _empty(removal, fd, depth)
    finally:
        os.close(fd)
    try:
        _retry_unlocked(lambda: os.rmdir(name, dir_fd=parent_fd), parent_fd, name)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        # Filled again by somebody, unless something in it could not be deleted.
        return removal.error is None
    return True


def _move_up(removal: _Removal, parent_fd: int, name: str) -> bool:
    """Bring a deep directory up beside the others at the top; False when the file system refuses."""
    removal.counter += 1
    new_name = f".removing-{os.getpid()}-{removal.counter}"
    try:
        os.rename(name, new_name, src_dir_fd=parent_fd, dst_dir_fd=removal.top_fd)
    except OSError:
        return False
    removal.moved_up.append(new_name)
    return True


def _unlink(parent_fd: int, name: str) -> None:
    _retry_unlocked(lambda: os.unlink(name, dir_fd=parent_fd), parent_fd, name)


def _retry_unlocked(delete: Callable[[], None], parent_fd: int, name: str) -> None:
    try:
        delete()
    except FileNotFoundError:
        return
    except PermissionError:
        _clear_flags(parent_fd, ".")
        _clear_flags(parent_fd, name)
        try:
            delete()
        except FileNotFoundError:
            return


def _clear_flags(parent_fd: int, name: str) -> None:
    """Clear the immutable and append-only flags; whatever is wrong shows when deleting is tried again."""
    try:
        fd = sys.openat2(parent_fd, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, 0, sys.RESOLVE_NO_XDEV)
    except OSError:
        return
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", flags & ~(_FS_IMMUTABLE_FL | _FS_APPEND_FL)))
    except OSError:
        pass
    finally:
        os.close(fd)
