"""Write one layer into a directory, in the form in which overlayfs wants it as a lower layer.

Whiteouts become character devices 0:0, opaque directories get ``trusted.overlay.opaque=y`` (kernel
documentation, filesystems/overlayfs.rst; OCI image-spec, layer.md).

:class:`LayerWriter` works on the *root directory of its process*: the caller has called ``chroot`` on the
layer's directory.  So the kernel confines every path, through whatever symbolic links a hostile layer has laid.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable

from podhost.images.tar_reader import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    ByteSource,
    TarEntry,
    TarError,
    quote_name,
    read_entries,
)

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_RESERVED = b".wh..wh."
_OPAQUE_XATTR = "trusted.overlay.opaque"
_XATTR_PREFIX = "SCHILY.xattr."
_NODE_TYPES = {CHAR_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def clean_name(name: bytes) -> bytes:
    """A member's path below the layer's root, without leading slash; empty for the root itself.

    Raises:
        TarError: It climbs out of the layer.
    """
    # Nearly all names are plain already.
    if b"/." not in name and b"//" not in name and not name.startswith((b"/", b".")):
        return name.rstrip(b"/")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise TarError(f"{quote_name(name)} leads out of the layer")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def wanted_xattr(name: str) -> bool:
    """Whether an extended attribute of a layer is kept.

    ``trusted.*`` never is: ``trusted.overlay.redirect`` and its like would steer overlayfs.
    """
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name == "security.capability"


class LayerWriter:
    """Applies members one by one to ``/``, which must be the (empty) directory of the layer."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._directories: set[bytes] = {b""}
        self._implied: set[bytes] = set()
        self._mtimes: dict[bytes, int] = {}
        self._whiteouts: set[bytes] = set()
        self.file_bytes = 0

    @property
    def implied_directories(self) -> list[bytes]:
        """Directories that the layer needs but does not describe, parents first."""
        return sorted(self._implied)

    def apply_all(self) -> None:
        """Read the stream to its end.  Raises TarError, OSError."""
        for entry in read_entries(self._source):
            name = clean_name(entry.name)
            try:
                self._apply(name, entry)
            except OSError as error:
                raise OSError(error.errno, f"cannot write {quote_name(name)}: {error.strerror}") from error
        for path, mtime_ns in reversed(self._mtimes.items()):
            os.utime(b"/" + path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def _apply(self, name: bytes, entry: TarEntry) -> None:
        parent, _, base = name.rpartition(b"/")
        if parent not in self._directories:
            self._make_parents(parent)
        if base.startswith(_WHITEOUT):
            self._source.skip(entry.size)
            self._apply_whiteout(parent, base)
            return
        kind = entry.type
        if kind == REGULAR:
            self._write_file(name, entry)
        elif kind == DIRECTORY:
            self._make_directory(name, entry)
        elif kind == SYMLINK:
            self._clear_then(name, lambda: os.symlink(entry.link, b"/" + name))
            self._finish_node(name, entry, is_link=True)
        elif kind == HARD_LINK:
            self._make_hard_link(name, entry)
        elif kind in _NODE_TYPES:
            mode = _NODE_TYPES[kind] | entry.mode
            self._clear_then(name, lambda: os.mknod(b"/" + name, mode, entry.device))
            self._finish_node(name, entry, is_link=False)
        else:
            raise TarError(f"unknown type {quote_name(kind)} of {quote_name(name)}")

    def _make_parents(self, path: bytes) -> None:
        """Directories without a member of their own; their attributes come from the layers below, later."""
        grown = b""
        for part in path.split(b"/"):
            grown = grown + b"/" + part if grown else part
            if grown in self._directories:
                continue
            try:
                os.mkdir(b"/" + grown, 0o755)
                self._implied.add(grown)
            except FileExistsError:
                if not os.path.isdir(b"/" + grown):
                    # A whiteout or a file that a later member makes a directory of.
                    self._remove(grown)
                    os.mkdir(b"/" + grown, 0o755)
                    self._mark_if_whiteout(grown)
                    self._implied.add(grown)
            self._directories.add(grown)

    def _write_file(self, name: bytes, entry: TarEntry) -> None:
        mode = entry.mode
        try:
            fd = os.open(b"/" + name, _CREATE, mode & 0o777)
        except FileExistsError:
            self._remove(name)
            fd = os.open(b"/" + name, _CREATE, mode & 0o777)
        try:
            if entry.sparse is not None:
                self._write_sparse(fd, entry)
            else:
                for piece in self._source.pieces(entry.size):
                    _write_all(fd, piece)
            self.file_bytes += entry.size
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            if mode & 0o7000:
                os.fchmod(fd, mode)
            if entry.pax:
                _set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _write_sparse(self, fd: int, entry: TarEntry) -> None:
        for offset, length in entry.sparse or ():
            os.lseek(fd, offset, os.SEEK_SET)
            for piece in self._source.pieces(length):
                _write_all(fd, piece)
        os.ftruncate(fd, entry.real_size)

    def _make_directory(self, name: bytes, entry: TarEntry) -> None:
        path = b"/" + name
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                self._remove(name)
                os.mkdir(path, 0o755)
                self._mark_if_whiteout(name)
        self._directories.add(name)
        self._implied.discard(name)
        self._finish_node(name, entry, is_link=False)
        # Later members change a directory's mtime again.
        self._mtimes[name] = entry.mtime_ns

    def _make_hard_link(self, name: bytes, entry: TarEntry) -> None:
        target = clean_name(entry.link)
        self._clear_then(name, lambda: os.link(b"/" + target, b"/" + name, follow_symlinks=False))

    def _clear_then(self, name: bytes, create: Callable[[], None]) -> None:
        try:
            create()
        except FileExistsError:
            self._remove(name)
            create()

    def _remove(self, name: bytes) -> None:
        """Make way for a member of the same name.  The root itself cannot be replaced."""
        if not name:
            raise TarError("the layer's root is not a directory")
        path = b"/" + name
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        # What was below may have been reached through it as a symbolic link, too.
        inside = name + b"/"
        self._directories = {b""}
        for known in [path for path in self._mtimes if path == name or path.startswith(inside)]:
            del self._mtimes[known]
        self._implied = {path for path in self._implied if path != name and not path.startswith(inside)}

    def _finish_node(self, name: bytes, entry: TarEntry, *, is_link: bool) -> None:
        path = b"/" + name
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if not is_link:
            os.chmod(path, entry.mode)
        if entry.pax:
            _set_xattrs(path, entry)
        if not is_link or entry.mtime_ns:
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _apply_whiteout(self, parent: bytes, base: bytes) -> None:
        if base == _OPAQUE:
            os.setxattr(b"/" + parent, _OPAQUE_XATTR, b"y", follow_symlinks=False)
            return
        if base.startswith(_RESERVED):
            return  # bookkeeping of AUFS
        hidden = base[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise TarError(f"bad whiteout {quote_name(base)}")
        name = parent + b"/" + hidden if parent else hidden
        self._whiteouts.add(name)
        try:
            os.mknod(b"/" + name, stat.S_IFCHR, 0)
        except FileExistsError:
            # The layer has a new file of this name; whiteouts hide only what lies below.
            self._mark_if_whiteout(name)

    def _mark_if_whiteout(self, name: bytes) -> None:
        path = b"/" + name
        if name in self._whiteouts and stat.S_ISDIR(os.lstat(path).st_mode):
            os.setxattr(path, _OPAQUE_XATTR, b"y", follow_symlinks=False)


def _write_all(fd: int, piece: memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, piece[written:])


def _set_xattrs(target: int | bytes, entry: TarEntry) -> None:
    for key, value in entry.pax.items():
        if not key.startswith(_XATTR_PREFIX):
            continue
        name = key[len(_XATTR_PREFIX) :]
        if not wanted_xattr(name):
            continue
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            # The kernel forbids user.* on symbolic links and nodes, and file systems may know no xattrs at all.
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
