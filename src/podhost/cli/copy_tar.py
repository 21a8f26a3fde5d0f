"""Files as a tar stream, and back: without trust in what a container sends."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_CHUNK_BYTES = 1 << 16


def pack(source: Path, name: str, output: BinaryIO, *, on_skipped: Callable[[str], None]) -> int:
    """Write ``source``, with all that is in it, as ``name``; the number of files.

    Sockets and devices are left out, and told.
    """
    count = 0

    def choose(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal count
        if not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
            on_skipped(f"{info.name} is no file and no directory")
            return None
        count += not info.isdir()
        return info

    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source, arcname=name, filter=choose)
    return count


class Unpacker:
    """Writes an archive whose members are below ``root`` to ``target``; nothing is written elsewhere.

    Members that climb out are refused.  Links are made at last, so that nothing is written through one; those that
    lead out of ``target`` are left out, and told, as by kubectl.
    """

    def __init__(self, root: str, target: Path, *, on_skipped: Callable[[str], None]) -> None:
        self._root = PurePosixPath(root.strip("/") or ".")
        self._target = target
        self._on_skipped = on_skipped
        self._links: list[tuple[tarfile.TarInfo, Path]] = []
        self._modes: list[tuple[Path, int]] = []
        self.count = 0

    def unpack(self, stream: BinaryIO) -> int:
        """The number of files.  Raises OSError and ``tarfile.TarError``."""
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                self._unpack_member(archive, member)
        for member, path in self._links:
            self._make_link(member, path)
        for path, mode in reversed(self._modes):
            path.chmod(mode)
        return self.count

    def _unpack_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._place(member.name)
        if path is None:
            self._on_skipped(f"{member.name} is outside of what was asked for")
        elif member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            self._modes.append((path, stat.S_IMODE(member.mode) | stat.S_IRWXU))
        elif member.isreg():
            self._write_file(archive, member, path)
        elif member.issym() or member.islnk():
            self._links.append((member, path))
        else:
            self._on_skipped(f"{member.name} is no file and no directory")

    def _place(self, name: str) -> Path | None:
        """Where a member goes; ``None`` for one that is not below the root."""
        try:
            relative = PurePosixPath(name.lstrip("/")).relative_to(self._root)
        except ValueError:
            return None
        return None if ".." in relative.parts else self._target.joinpath(*relative.parts)

    def _write_file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        content = archive.extractfile(member)
        assert content is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file anew: what is there may be a link to elsewhere.
        if path.is_symlink() or path.exists():
            path.unlink()
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK_BYTES):
                file.write(chunk)
        path.chmod(stat.S_IMODE(member.mode) & 0o777)
        os.utime(path, (member.mtime, member.mtime))
        self.count += 1

    def _make_link(self, member: tarfile.TarInfo, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_file():
            path.unlink()
        if member.islnk():
            source = self._place(member.linkname)
            if source is None or source.is_symlink() or not source.is_file():
                self._on_skipped(f"{member.name} is a link to {member.linkname}, outside of what was copied")
                return
            os.link(source, path)
        elif self._leads_out(path, member.linkname):
            self._on_skipped(f"{member.name} is a link to {member.linkname}, outside of what was copied")
            return
        else:
            path.symlink_to(member.linkname)
        self.count += 1

    def _leads_out(self, path: Path, target: str) -> bool:
        if target.startswith("/"):
            return True
        resolved = Path(os.path.normpath(path.parent / target))
        return resolved != self._target and self._target not in resolved.parents
