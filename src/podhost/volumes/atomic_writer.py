"""Writes files so that a reader sees all of the old ones or all of the new ones.

The layout is the kubelet's, on which programs rely that watch ``..data``::

    ..2026_11_23_16_00_00.123456789/     the files
    ..data -> ..2026_11_23_16_00_00.123456789   replaced by rename
    app.conf -> ..data/app.conf          one link for the first part of each path
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from podhost.aiokit import failpoint
from podhost.linux import fs
from podhost.volumes.ownership import compute_mode
from podhost.volumes.plan import Payload, ProjectedFile, check_payload_path

_FILES_WRITTEN = failpoint.register("volumes.mount.04-files-written")
_DATA_SWAPPED = failpoint.register("volumes.mount.05-data-swapped")
_LINKS_MADE = failpoint.register("volumes.mount.06-links-made")

_DATA = "..data"
_NEW_DATA = "..data_tmp"


def write_payload(directory: Path, payload: Payload, *, fs_group: int | None = None) -> bool:
    """Make ``directory`` show exactly ``payload``; returns whether anything had to be written.

    Safe against a death at any point: what an earlier call left half-done is finished or removed.

    Raises:
        VolumeError: A path that leads out of the volume.
        OSError: From the file system; the old files are still shown.
    """
    for path in payload:
        check_payload_path(path)
    current = _read_link(directory / _DATA)
    entries = _list_names(directory)
    if current is not None and _shows(directory / current, payload, fs_group):
        _sync_links(directory, entries, payload)
        _remove_leftovers(directory, entries, keep=current)
        return False
    fresh = _write_new_version(directory, payload, fs_group)
    failpoint.hit(_FILES_WRITTEN)
    _replace_link(directory, fresh)
    failpoint.hit(_DATA_SWAPPED)
    _sync_links(directory, entries, payload)
    failpoint.hit(_LINKS_MADE)
    _remove_leftovers(directory, entries, keep=fresh)
    return True


def _read_link(path: Path) -> str | None:
    try:
        target = os.readlink(path)
    except (FileNotFoundError, OSError):
        return None
    # Only ever a name beside the link; anything else was not made here.
    return target if target and "/" not in target else None


def _list_names(directory: Path) -> list[str]:
    return os.listdir(directory)


def _shows(version: Path, payload: Payload, fs_group: int | None) -> bool:
    """Whether the version holds these files, with these contents and modes, and no others."""
    found: set[str] = set()
    try:
        for relative in _walk_files(version, ""):
            wanted = payload.get(relative)
            if wanted is None or not _is_same(version / relative, wanted, fs_group):
                return False
            found.add(relative)
    except FileNotFoundError:
        return False
    return len(found) == len(payload)


def _walk_files(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk_files(directory / entry.name, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def _is_same(path: Path, wanted: ProjectedFile, fs_group: int | None) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        mode = compute_mode(wanted.mode, fs_group, read_only=True, directory=False)
        return (
            info.st_size == len(wanted.data)
            and stat.S_IMODE(info.st_mode) == mode
            and (wanted.uid is None or info.st_uid == wanted.uid)
            and file.read() == wanted.data
        )


def _write_new_version(directory: Path, payload: Payload, fs_group: int | None) -> str:
    name = _version_name()
    version = directory / name
    try:
        _make_directory(version, fs_group)
        made = {""}
        for path, file in payload.items():
            parent = path.rpartition("/")[0]
            _make_parents(version, parent, made, fs_group)
            _write_file(version / path, file, fs_group)
    except BaseException:
        fs.remove_tree(version)
        raise
    return name


def _version_name() -> str:
    now_ns = time.time_ns()
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime(now_ns // 1_000_000_000))
    return f"{stamp}.{now_ns % 1_000_000_000:09d}"


def _make_parents(version: Path, parent: str, made: set[str], fs_group: int | None) -> None:
    if parent in made:
        return
    _make_parents(version, parent.rpartition("/")[0], made, fs_group)
    _make_directory(version / parent, fs_group)
    made.add(parent)


def _make_directory(path: Path, fs_group: int | None) -> None:
    os.mkdir(path, 0o700)
    if fs_group is not None:
        os.chown(path, -1, fs_group)
    os.chmod(path, compute_mode(0o755, fs_group, read_only=True, directory=True))


def _write_file(path: Path, file: ProjectedFile, fs_group: int | None) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(file.data)
        while view:
            view = view[os.write(fd, view) :]
        if file.uid is not None or fs_group is not None:
            os.fchown(fd, -1 if file.uid is None else file.uid, -1 if fs_group is None else fs_group)
        os.fchmod(fd, compute_mode(file.mode, fs_group, read_only=True, directory=False))
    finally:
        os.close(fd)


def _replace_link(directory: Path, version: str) -> None:
    temporary = directory / _NEW_DATA
    temporary.unlink(missing_ok=True)
    os.symlink(version, temporary)
    os.rename(temporary, directory / _DATA)


def _sync_links(directory: Path, entries: list[str], payload: Payload) -> None:
    """Make the links that users see; remove those of files that are gone."""
    wanted = {path.partition("/")[0] for path in payload}
    present = {name for name in entries if not name.startswith("..")}
    for name in sorted(wanted - present):
        os.symlink(f"{_DATA}/{name}", directory / name)
    for name in present - wanted:
        # Anything but a link of ours (a directory made for a subPath, say) stays.
        if _is_our_link(directory / name, name):
            os.unlink(directory / name)


def _is_our_link(path: Path, name: str) -> bool:
    try:
        return os.readlink(path) == f"{_DATA}/{name}"
    except OSError:
        return False


def _remove_leftovers(directory: Path, entries: list[str], *, keep: str) -> None:
    for name in entries:
        if name.startswith("..") and name not in (keep, _DATA):
            fs.remove_tree(directory / name)
