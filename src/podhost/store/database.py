"""The SQLite file below the store: objects, history, schema version.

One connection, used from one thread; every write is one transaction.  WAL with ``synchronous=NORMAL``: the
death of the process loses nothing, a power failure may lose the last transactions.
Checkpoints run on their own connection in a worker thread, so that no write waits for the disk's fsync.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podhost.aiokit import failpoint
from podhost.errors import ExhaustedError, InvalidError, UnavailableError
from podhost.store.disk_reserve import DiskReserve
from podhost.store.keys import ObjectKey

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('opened_rv', 0), ('compacted_rv', 0)",
        "CREATE TABLE objects (resource TEXT, namespace TEXT, name TEXT, rv INTEGER NOT NULL,"
        " doc BLOB NOT NULL, PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID",
        # ``previous`` is only filled when the row before (``previous_rv``) is compacted: no document twice.
        "CREATE TABLE history (rv INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, type TEXT NOT NULL,"
        " resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, doc BLOB NOT NULL,"
        " previous_rv INTEGER, previous BLOB)",
        "CREATE INDEX history_resource ON history (resource, rv)",
        "CREATE INDEX history_previous ON history (previous_rv) WHERE previous_rv IS NOT NULL",
    ),
)
"""Statements that lead from schema version N (``PRAGMA user_version``) to N + 1.  Append only."""

SCHEMA_VERSION = len(_MIGRATIONS)

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "wal_autocheckpoint = 0",
    "journal_size_limit = 33554432",
    "temp_store = MEMORY",
    "cache_size = -512",
)
_COMPACT_EVERY = 32
_CHECKPOINT_EVERY = 1000
_CHECKPOINT_EVERY_BYTES = 8 << 20
"""Of documents, whichever comes first: a thousand objects may be a gigabyte."""
_LOG_LIMIT_PAGES = 8192
"""A write-ahead log longer than this (32 MiB) is begun anew."""
HISTORY_LIMIT_BYTES = 64 << 20
_COMPACT_EVERY_BYTES = 2 << 20
_ROW_BYTES = "length(doc) + coalesce(length(previous), 0)"
_WRITE = failpoint.register("store.write")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write, ready for the disk.  ``previous_rv`` is the version of the object that it replaces."""

    key: ObjectKey
    type: str
    rv: int
    at_ns: int
    doc: bytes
    previous_rv: int | None
    makes_room: bool = False
    """It belongs to the removal of something, and may use the room that is set aside on a full disk."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One past change."""

    rv: int
    type: str
    doc: bytes
    previous: bytes | None


class Database:
    """The file.  All methods are quick and synchronous; see the class of each error at :meth:`write`."""

    def __init__(self, path: Path, *, history_limit: int, history_limit_bytes: int = HISTORY_LIMIT_BYTES) -> None:
        """Open or create.

        Raises:
            InvalidError: Not a database, damaged, or written by a newer podhost.
            UnavailableError: It cannot be opened.
        """
        self.path = path
        self._index_in_memory = False
        self._history_limit = history_limit
        self._history_limit_bytes = history_limit_bytes
        self._unchecked_bytes = 0
        self._opened_rv: int | None = None
        self._checkpoint: asyncio.Future[None] | None = None
        self._closed = False
        self.write_failed = False
        """The last write did not come to be."""
        self._checkpoint_lock = threading.Lock()
        self._reserve_spent = False
        self._reserve = DiskReserve(path.with_name(f"{path.name}.reserve"))
        try:
            self._open()
        except UnavailableError:
            # A full disk, most likely; SQLite calls it an input/output error where its index does not fit.
            self._open(index_in_memory=True)

    def _open(self, *, index_in_memory: bool = False) -> None:
        self._index_in_memory = index_in_memory
        try:
            self._connection = _connect(self.path, index_in_memory=index_in_memory)
        except OSError as error:
            raise UnavailableError(f'cannot open the store "{self.path}": {error.strerror}') from error
        try:
            self._migrate()
            self._history_count: int = self._scalar("SELECT count(*) FROM history")
            self._history_bytes: int = self._scalar(f"SELECT coalesce(sum({_ROW_BYTES}), 0) FROM history")
            self.compacted_rv: int = self._scalar("SELECT value FROM meta WHERE key = 'compacted_rv'")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise _open_error(self.path, error) from error
        except InvalidError:
            self._connection.close()
            raise

    def last_rv(self) -> int:
        """The highest version ever handed out that is on disk."""
        return self._scalar(
            "SELECT max((SELECT value FROM meta WHERE key = 'opened_rv'), coalesce(max(rv), 0)) FROM history"
        )

    def mark_opened(self, rv: int) -> None:
        """Record the version that this run starts at.  A full disk does not keep a daemon from starting."""
        try:
            self._write_opened(rv)
        except ExhaustedError:
            # The first change that can be written takes it along: until then nobody has seen a version of this run
            # that the next run would not give out as well.
            self._opened_rv = rv
            self._reserve_spent = True
        else:
            self._reserve_spent = not self._reserve.ensure()

    def _write_opened(self, rv: int) -> None:
        with self._transaction():
            self._put_opened(rv)

    def _put_opened(self, rv: int) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE key = 'opened_rv'", (rv,))

    def load(self, *, without: Collection[str] = ()) -> Iterator[tuple[ObjectKey, bytes]]:
        """All objects but those of some resources."""
        holes = ", ".join("?" * len(without))
        for resource, namespace, name, doc in self._connection.execute(
            f"SELECT resource, namespace, name, doc FROM objects WHERE resource NOT IN ({holes})"
            " ORDER BY resource, namespace, name",
            tuple(without),
        ):
            yield ObjectKey(resource, namespace, name), doc

    def read(self, key: ObjectKey) -> bytes | None:
        """The document of an object.  Raises UnavailableError."""
        query = "SELECT doc FROM objects WHERE resource = ? AND namespace = ? AND name = ?"
        rows = self._read(query, (key.resource, key.namespace, key.name))
        return rows[0][0] if rows else None

    def read_all(self, resource: str, namespace: str | None) -> list[tuple[str, str, bytes]]:
        """Namespace, name and document, in that order.  Raises UnavailableError."""
        query = "SELECT namespace, name, doc FROM objects WHERE resource = ?"
        if namespace is None:
            return self._read(f"{query} ORDER BY namespace, name", (resource,))
        return self._read(f"{query} AND namespace = ? ORDER BY name", (resource, namespace))

    def count(self, resource: str) -> int:
        """How many objects there are.  Raises UnavailableError."""
        return int(self._read("SELECT count(*) FROM objects WHERE resource = ?", (resource,))[0][0])

    def oldest(self, resource: str, limit: int) -> deque[tuple[int, ObjectKey]]:
        """Version and key of those with the lowest versions; looks at all.  Raises UnavailableError."""
        query = "SELECT rv, namespace, name FROM objects WHERE resource = ? ORDER BY rv LIMIT ?"
        return deque((rv, ObjectKey(resource, *place)) for rv, *place in self._read(query, (resource, limit)))

    def _read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise UnavailableError(f'cannot read the store "{self.path}": {error}') from error

    def write(self, change: Change) -> None:
        """Make a change durable, whole or not at all.

        Raises:
            ExhaustedError: The disk is full.
            UnavailableError: Any other failure of the disk or the database.
        """
        try:
            self._write_once(change)
        except ExhaustedError:
            if not (change.makes_room and self._spend_reserve()):
                raise
            self._write_once(change)
        else:
            self._restore_reserve()
        self._unchecked_bytes += 2 * len(change.doc)  # the object and its history
        self._schedule_checkpoint(change.rv)

    def _spend_reserve(self) -> bool:
        self._reserve_spent = True
        return self._reserve.release()

    def _restore_reserve(self) -> None:
        """As soon as there is room again, for the next time that the disk is full."""
        if self._reserve_spent:
            self._reserve_spent = not self._reserve.ensure()

    def _write_once(self, change: Change) -> None:
        with self._transaction():
            if self._opened_rv is not None:
                self._put_opened(self._opened_rv)
            self._put(change)
            if (
                self._history_count > self._history_limit + _COMPACT_EVERY
                or self._history_bytes > self._history_limit_bytes + _COMPACT_EVERY_BYTES
            ):
                self._compact(change.rv)
        self._opened_rv = None

    def history(self, resource: str, after_rv: int, limit: int) -> list[HistoryRow]:
        """The next changes of a resource after a version."""
        rows = self._connection.execute(
            "SELECT h.rv, h.type, h.doc, coalesce(h.previous, p.doc) FROM history h"
            " LEFT JOIN history p ON p.rv = h.previous_rv"
            " WHERE h.resource = ? AND h.rv > ? ORDER BY h.rv LIMIT ?",
            (resource, after_rv, limit),
        )
        return [HistoryRow(*row) for row in rows]

    def states_at(self, resource: str, rv: int) -> list[tuple[str, str, bytes | None]]:
        """(namespace, name, document) at a version of what has changed since; ``None``: it was not there."""
        rows = self._connection.execute(
            "SELECT h.namespace, h.name, coalesce(h.previous, p.doc), min(h.rv) FROM history h"
            " LEFT JOIN history p ON p.rv = h.previous_rv"
            " WHERE h.resource = ? AND h.rv > ? GROUP BY h.namespace, h.name",
            (resource, rv),
        )
        return [(namespace, name, doc) for namespace, name, doc, _ in rows]

    def free_memory(self) -> None:
        """Let go of the pages that were read and written lately; they are read again when they are needed."""
        self._connection.execute("PRAGMA shrink_memory").fetchall()

    def close(self) -> None:
        """Write everything back into the one file.  Idempotent."""
        with self._checkpoint_lock:
            self._closed = True
            self._connection.close()

    def _put(self, change: Change) -> None:
        key = change.key
        place = (key.resource, key.namespace, key.name)
        execute = self._connection.execute
        if change.type == "DELETED":
            execute("DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", place)
        else:
            execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (*place, change.rv, change.doc))
        execute(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (change.rv, change.at_ns, change.type, *place, change.doc, change.previous_rv),
        )
        self._history_count += 1
        self._history_bytes += len(change.doc)

    def _compact(self, newest_rv: int) -> None:
        """Drop the oldest rows; their documents move to the rows that need them as ``previous``."""
        oldest, size = self._find_excess(newest_rv)
        if not oldest:
            return  # one change alone is larger than all that is to be kept
        floor = oldest[-1][0]
        for rv, doc in oldest:
            moved = self._connection.execute(
                "UPDATE history SET previous = ? WHERE previous_rv = ? AND rv > ?", (doc, rv, floor)
            )
            size -= len(doc) * moved.rowcount
        self._connection.execute("DELETE FROM history WHERE rv <= ?", (floor,))
        self._history_bytes -= size
        self._connection.execute("UPDATE meta SET value = ? WHERE key = 'compacted_rv'", (floor,))
        self._history_count -= len(oldest)
        self.compacted_rv = floor

    def _find_excess(self, newest_rv: int) -> tuple[list[tuple[int, bytes]], int]:
        """Version and document of the rows that are too many or too large together, and the bytes of them all."""
        oldest: list[tuple[int, bytes]] = []
        size = 0
        query = f"SELECT rv, doc, {_ROW_BYTES} FROM history WHERE rv < ? ORDER BY rv"
        for rv, doc, row_bytes in self._connection.execute(query, (newest_rv,)):
            is_few = self._history_count - len(oldest) <= self._history_limit
            if is_few and self._history_bytes - size <= self._history_limit_bytes:
                break
            oldest.append((rv, doc))
            size += row_bytes
        return oldest, size

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._history_count, self._history_bytes, self.compacted_rv
        try:
            failpoint.hit(_WRITE)
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
            self.write_failed = False
        except (sqlite3.Error, OSError) as error:
            self.write_failed = True
            self._history_count, self._history_bytes, self.compacted_rv = before
            self._roll_back()
            raise _write_error(self.path, error) from error

    def _roll_back(self) -> None:
        # SQLite rolls back by itself after some errors, SQLITE_FULL among them.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # the first error is the one to report; the next BEGIN fails if this one matters

    def _migrate(self) -> None:
        version = self._scalar("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise InvalidError(
                f'cannot open the store "{self.path}": a newer podhost wrote it (its schema is {version}, '
                f"known here is {SCHEMA_VERSION}); use that podhost, or move the file away to start empty"
            )
        if version == SCHEMA_VERSION:
            return  # nothing is written: there may be no room
        self._connection.execute("BEGIN IMMEDIATE")
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _scalar(self, statement: str) -> int:
        (value,) = self._connection.execute(statement).fetchone()
        return int(value)

    def _schedule_checkpoint(self, rv: int) -> None:
        if rv % _CHECKPOINT_EVERY != 0 and self._unchecked_bytes < _CHECKPOINT_EVERY_BYTES:
            return
        if self._checkpoint is not None and not self._checkpoint.done():
            return
        self._unchecked_bytes = 0
        if self._index_in_memory:
            self._copy_log(self._connection)  # no other connection may: the file is locked
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._run_checkpoint()
        else:
            self._checkpoint = loop.run_in_executor(None, self._run_checkpoint)

    def _run_checkpoint(self) -> None:
        with self._checkpoint_lock:
            if self._closed:
                return
            self._reserve.ensure()
            connection = sqlite3.connect(self.path, isolation_level=None)
            try:
                self._copy_log(connection)
            finally:
                connection.close()

    def _copy_log(self, connection: sqlite3.Connection) -> None:
        try:
            ((_, pages, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if pages > _LOG_LIMIT_PAGES:
                # A passive one never catches up with a writer that goes on, and the log would grow for ever.
                # After it there is little left to copy, so the writer waits for a moment only.
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.Error:
            pass  # a full disk, or the file is gone: the write-ahead log still holds everything


def _connect(path: Path, *, index_in_memory: bool = False) -> sqlite3.Connection:
    """``index_in_memory``: the index of the log takes no file; no other connection can be made."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # it holds Secrets
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, cached_statements=64)
    try:
        if index_in_memory:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _open_error(path, error) from error
    return connection


def _open_error(path: Path, error: sqlite3.DatabaseError) -> InvalidError | UnavailableError:
    if isinstance(error, sqlite3.OperationalError):
        return UnavailableError(f'cannot open the store "{path}": {error}')
    return InvalidError(
        f'cannot open the store "{path}": {error}; restore it from a copy, or move it away to start empty'
    )


def _write_error(path: Path, error: sqlite3.Error | OSError) -> ExhaustedError | UnavailableError:
    full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(error, "errno", 0) == 28
    if full:
        return ExhaustedError(f'cannot write to the store "{path}": no space left on the disk')
    return UnavailableError(f'cannot write to the store "{path}": {error}')
