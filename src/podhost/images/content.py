"""Files of the shared store: blobs, unpacked layers, staging area, and the lock that several daemons share.

::

    lock                         flock: shared while something is fetched or unpacked, exclusive while collecting
    meta.db                      names, images, leases (see metadata)
    content/blobs/sha256/HEX     manifests, configurations, layers, as skopeo stores them
    snapshots/HEX/fs             one unpacked layer, by chain id
    snapshots/HEX/meta.json      what it is; ``durable`` beside it once the data is on disk
    staging/…                    work in progress; whatever is here belongs to nobody when the lock is free
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podhost.cri.ids import ChainId
from podhost.errors import NotFoundError
from podhost.images.records import compute_digest
from podhost.linux import fs
from podhost.linux.paths import open_beneath
from podhost.linux.pidfd import boot_id

_META = "meta.json"
_DURABLE = "durable"


class DamagedBlobError(NotFoundError):
    """A blob was not what its digest says; it has been deleted, so a new pull fetches it again."""


class ContentStore:
    """Synchronous file work on the shared store; call from threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs_dir = root / "content" / "blobs"
        self.snapshots_dir = root / "snapshots"
        self.staging_dir = root / "staging"
        self.build_dir = root / "build"

    def ensure_layout(self) -> None:
        """Make the directories.  Nobody but root may look in: layers hold devices and setuid programs."""
        fs.ensure_directory(self.root, 0o700)
        for path in (self.blobs_dir / "sha256", self.snapshots_dir, self.staging_dir):
            path.mkdir(parents=True, exist_ok=True)

    # -- lock ----------------------------------------------------------------------------------------------

    @contextmanager
    def shared_lock(self) -> Iterator[int]:
        """Keep collectors away; blocks while one is at work.  Yields a descriptor for child processes."""
        with self._open_lock(self.root / "lock") as fd:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield fd

    @contextmanager
    def exclusive_lock(self) -> Iterator[bool]:
        """Yields whether the store is ours alone; never waits."""
        with self._try_lock(self.root / "lock") as alone:
            yield alone

    @contextmanager
    def build_lock(self) -> Iterator[bool]:
        """Yields whether buildah's directory is ours alone; never waits.  Makes the directory."""
        self.build_dir.mkdir(mode=0o700, exist_ok=True)
        with self._try_lock(self.build_dir / "lock") as alone:
            yield alone

    @contextmanager
    def _try_lock(self, path: Path) -> Iterator[bool]:
        with self._open_lock(path) as fd:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def _open_lock(self, path: Path) -> Iterator[int]:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    # -- staging -------------------------------------------------------------------------------------------

    def make_staging(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.staging_dir))

    def sweep_staging(self) -> None:
        """Delete leftovers.  Only under the exclusive lock."""
        for path in self.staging_dir.iterdir():
            fs.remove_tree(path)

    # -- blobs ---------------------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        return self.blobs_dir / algorithm / value

    def has_blob(self, digest: str) -> bool:
        return self.blob_path(digest).is_file()

    def find_blob_size(self, digest: str) -> int | None:
        """In bytes; ``None`` when it is not there."""
        try:
            return self.blob_path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def read_blob(self, digest: str) -> bytes:
        """A small blob, verified.  Raises NotFoundError (DamagedBlobError when it is not what it should be)."""
        path = self.blob_path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"cannot read blob {digest}: it is not in the store") from error
        if compute_digest(data) != digest:
            self.delete_blob(digest)
            raise DamagedBlobError(f"cannot read blob {digest}: its content is damaged")
        return data

    def delete_blob(self, digest: str) -> int:
        """Bytes freed; 0 when it was not there."""
        path = self.blob_path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def list_blobs(self, *, older_than_s: float = 0.0) -> set[str]:
        """Digests of all blobs (of those last changed ``older_than_s`` ago or before)."""
        limit = time.time() - older_than_s
        with os.scandir(self.blobs_dir / "sha256") as entries:
            return {f"sha256:{entry.name}" for entry in entries if not older_than_s or entry.stat().st_mtime <= limit}

    # -- snapshots -----------------------------------------------------------------------------------------

    def snapshot_path(self, chain_id: str) -> Path:
        return self.snapshots_dir / chain_id.partition(":")[2]

    def layer_dir(self, chain_id: ChainId) -> Path:
        return self.snapshot_path(chain_id) / "fs"

    def has_snapshot(self, chain_id: str) -> bool:
        return self.snapshot_path(chain_id).is_dir()

    def commit_snapshot(self, staged: Path, chain_id: str, *, size_bytes: int) -> None:
        """Give an unpacked layer its name in one step; a rival's identical one is kept instead."""
        meta = {"chain_id": chain_id, "size": size_bytes, "boot_id": boot_id()}
        (staged / _META).write_text(json.dumps(meta))
        staged.chmod(0o700)
        try:
            staged.rename(self.snapshot_path(chain_id))
        except OSError:
            if not self.has_snapshot(chain_id):
                raise
            fs.remove_tree(staged)

    def mark_durable(self, chain_ids: list[ChainId]) -> None:
        """After the file system was synced."""
        for chain_id in chain_ids:
            path = self.snapshot_path(chain_id)
            if path.is_dir():
                (path / _DURABLE).touch()

    def list_snapshots(self) -> set[str]:
        with os.scandir(self.snapshots_dir) as entries:
            return {f"sha256:{entry.name}" for entry in entries if not entry.name.startswith(".")}

    def snapshot_size(self, chain_id: str) -> int:
        """File bytes as noted when it was unpacked."""
        try:
            return int(json.loads((self.snapshot_path(chain_id) / _META).read_bytes())["size"])
        except (OSError, ValueError, KeyError):
            return 0

    def delete_snapshot(self, chain_id: str) -> int:
        """Bytes freed.  Out of the way by one rename first: nobody sees half a layer."""
        size = self.snapshot_size(chain_id)
        doomed = self.staging_dir / f"doomed-{chain_id.partition(':')[2]}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            self.snapshot_path(chain_id).rename(doomed)
        except FileNotFoundError:
            return 0
        fs.remove_tree(doomed)
        return size

    def drop_doubtful_snapshots(self) -> list[str]:
        """After a loss of power: forget layers whose data may never have reached the disk.

        They are not synced on the way of a pull, only soon after it; containers of before the loss of power
        are gone, so nobody uses these layers.  They are unpacked again when needed.
        """
        dropped = []
        for chain_id in self.list_snapshots():
            path = self.snapshot_path(chain_id)
            if (path / _DURABLE).exists():
                continue
            try:
                meta_boot = json.loads((path / _META).read_bytes())["boot_id"]
            except (OSError, ValueError, KeyError):
                meta_boot = ""
            if meta_boot != boot_id():
                self.delete_snapshot(chain_id)
                dropped.append(chain_id)
        return dropped

    # -- attributes of directories that a layer only implies -------------------------------------------------

    def copy_implied_attributes(self, layer: Path, names: list[str], below: list[Path]) -> None:
        """Directories that a layer needs but does not describe look as in the layers below (top first).

        Otherwise overlayfs would show the defaults, for example 0755 on ``/tmp``.
        """
        for name in names:
            source = _find_below(name, below)
            if source is not None:
                try:
                    _copy_attributes(source, layer / name)
                finally:
                    os.close(source)


def _find_below(name: str, below: list[Path]) -> int | None:
    """O_PATH descriptor of the highest directory of this name; symlinks end the search."""
    for root in below:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_beneath(root_fd, name, os.O_PATH | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            continue
        finally:
            os.close(root_fd)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None
    return None


def _copy_attributes(source_fd: int, target: Path) -> None:
    info = os.fstat(source_fd)
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    target.chmod(stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
