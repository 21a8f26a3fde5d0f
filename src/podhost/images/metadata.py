"""Names, images and leases of the shared store, in SQLite.

Several daemons write it; each keeps a copy in memory and reads again when ``PRAGMA data_version`` says that
another connection has committed.  Blobs and layers are facts of the file system, not kept here.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from podhost.cri.images import Image
from podhost.errors import ExhaustedError, PodhostError, UnavailableError
from podhost.images.records import ImageRecord

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE images (
    id TEXT PRIMARY KEY,          -- digest of the configuration
    record TEXT NOT NULL,         -- ImageRecord as JSON
    added_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE names (
    name TEXT PRIMARY KEY,        -- docker.io/library/nginx:latest, or …@sha256:… when asked for by digest
    image_id TEXT NOT NULL,
    local INTEGER NOT NULL        -- loaded or built here
) WITHOUT ROWID;
CREATE TABLE repo_digests (
    name TEXT PRIMARY KEY,        -- docker.io/library/nginx@sha256:…
    image_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE leases (
    instance TEXT NOT NULL,
    container_id TEXT NOT NULL,
    image_id TEXT NOT NULL,
    path TEXT NOT NULL,           -- the writable layer; a lease whose layer is gone is void
    PRIMARY KEY (instance, container_id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A container of some instance that stands on an image."""

    instance: str
    container_id: str
    image_id: str
    path: Path


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything at one moment; never changed, only replaced."""

    records: Mapping[str, ImageRecord] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    repo_digests: Mapping[str, str] = field(default_factory=dict)
    local_names: frozenset[str] = frozenset()
    images: Mapping[str, Image] = field(default_factory=dict)

    def names_of(self, image_id: str) -> list[str]:
        return [name for name, target in self.names.items() if target == image_id]


class Metadata:
    """The database.  Any thread may call; each call is one transaction of a fraction of a millisecond."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = _open(path)
        # Readers (the event loop among them) never wait for a writer that waits for another daemon.
        self._read_lock = threading.Lock()
        self._reader = _connect(path)
        self._catalog: Catalog | None = None
        self._seen_version = -1

    def close(self) -> None:
        with self._lock, self._read_lock:
            self._db.close()
            self._reader.close()

    def catalog(self) -> Catalog:
        """What is known now, also of other daemons' changes; some 10 µs when nothing has changed."""
        with self._read_lock:
            version = self._reader.execute("PRAGMA data_version").fetchone()[0]
            if self._catalog is None or version != self._seen_version:
                self._seen_version = version
                self._catalog = self._load()
            return self._catalog

    def _load(self) -> Catalog:
        execute = self._reader.execute
        execute("BEGIN")
        try:
            return self._read_all(execute)
        finally:
            execute("COMMIT")

    def _read_all(self, execute: Callable[[str], sqlite3.Cursor]) -> Catalog:
        records = {
            row[0]: msgspec.json.decode(row[1], type=ImageRecord)
            for row in execute("SELECT id, record FROM images ORDER BY added_ns, id")
        }
        rows = execute("SELECT name, image_id, local FROM names ORDER BY name").fetchall()
        names = {name: image_id for name, image_id, _ in rows if image_id in records}
        local = frozenset(name for name, _, is_local in rows if is_local and name in names)
        digests = {
            name: image_id
            for name, image_id in execute("SELECT name, image_id FROM repo_digests ORDER BY name")
            if image_id in records
        }
        return Catalog(records, names, digests, local, _build_images(records, names, digests, local))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Raises ExhaustedError (full disk), UnavailableError."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    # A full disk fails the commit: whether that has ended the transaction, SQLite decides.
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _write_error(error) from error

    def add_image(self, record: ImageRecord, *, names: list[str], repo_digests: list[str], local: bool) -> None:
        """Record an image under names; a name that meant another image moves."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO images VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (record.id, msgspec.json.encode(record).decode(), time.time_ns()),
            )
            for name in names:
                db.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (name, record.id, int(local)))
            for name in repo_digests:
                db.execute("INSERT OR REPLACE INTO repo_digests VALUES (?, ?)", (name, record.id))

    def remove_name(self, name: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM names WHERE name = ?", (name,))

    def remove_image(self, image_id: str) -> bool:
        """Forget an image with all its names, unless a container stands on it.  Returns whether it did."""
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM leases WHERE image_id = ? LIMIT 1", (image_id,)).fetchone():
                return False
            db.execute("DELETE FROM names WHERE image_id = ?", (image_id,))
            db.execute("DELETE FROM repo_digests WHERE image_id = ?", (image_id,))
            db.execute("DELETE FROM images WHERE id = ?", (image_id,))
            return True

    def add_lease(self, lease: Lease) -> bool:
        """Returns whether the image is there; without it nothing is recorded."""
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM images WHERE id = ?", (lease.image_id,)).fetchone():
                return False
            values = (lease.instance, lease.container_id, lease.image_id, str(lease.path))
            db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", values)
            return True

    def remove_lease(self, instance: str, container_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM leases WHERE instance = ? AND container_id = ?", (instance, container_id))

    def leases(self, instance: str | None = None) -> list[Lease]:
        query = "SELECT instance, container_id, image_id, path FROM leases WHERE ? IS NULL OR instance = ?"
        with self._read_lock:
            rows = self._reader.execute(query, (instance, instance))
            return [Lease(row[0], row[1], row[2], Path(row[3])) for row in rows]


def _build_images(
    records: Mapping[str, ImageRecord],
    names: Mapping[str, str],
    repo_digests: Mapping[str, str],
    local: frozenset[str],
) -> dict[str, Image]:
    tags: dict[str, list[str]] = {image_id: [] for image_id in records}
    digests: dict[str, list[str]] = {image_id: [] for image_id in records}
    for name, image_id in names.items():
        if "@" not in name:
            tags[image_id].append(name)
    for name, image_id in repo_digests.items():
        digests[image_id].append(name)
    return {
        image_id: record.build_image(
            tags[image_id], digests[image_id], [name for name in tags[image_id] if name in local]
        )
        for image_id, record in records.items()
    }


def _write_error(error: sqlite3.Error) -> PodhostError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return ExhaustedError("cannot write to the image store: no space left on device")
    return UnavailableError(f"cannot write to the image store: {error}")


def _open(path: Path) -> sqlite3.Connection:
    """Open, make or migrate.  A damaged file is put aside: blobs and layers can be had again."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        path.rename(path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA cache_size = -512")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return db
        db.execute("BEGIN IMMEDIATE")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise RuntimeError(f"cannot use {path}: it was written by a newer podhost (schema {version})")
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db
