"""Objects with versions: in memory (but for some, see :mod:`podhost.store.tables`), every change first on disk.

Synchronous and meant for one thread, the event loop's: a read costs a dictionary look-up, a write
about 0.1 ms.  Every change gets the next resourceVersion, one count for all resources, never going back, also
over restarts: at each start it skips ahead, because a power failure may have taken versions that a client has
seen already.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from podhost.aiokit.clock import Clock
from podhost.errors import ConflictError, ExistsError, NotFoundError
from podhost.store.database import Change, Database
from podhost.store.keys import ObjectKey
from podhost.store.tables import DiskTable, MemoryTable, Table, decode_stored
from podhost.store.watch import EventType, GoneError, Watch, WatchEvent

Obj = dict[str, Any]
Objects = list[dict[str, Any]]
Events = list[WatchEvent]
Subscriber = Callable[[WatchEvent], None]

RV_SKIP = 1_000
HISTORY_LIMIT = 10_000
WATCH_CAPACITY = 4_096
ON_DISK = frozenset({"events"})
"""Resources that are not kept in memory."""
_PROGRESS_EVERY = 1_000

_log = logging.getLogger(__name__)
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Store:
    """The objects of one instance.

    Whatever it returns is shared: never mutate it.  What is handed in is copied.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        history_limit: int = HISTORY_LIMIT,
        watch_capacity: int = WATCH_CAPACITY,
        on_disk: Collection[str] = ON_DISK,
    ) -> None:
        """Open or create the database file at ``path``; resources ``on_disk`` are not kept in memory.

        Raises:
            InvalidError: Damaged, or written by a newer podhost.
            UnavailableError: It cannot be opened.
        """
        self._clock = clock
        self._watch_capacity = watch_capacity
        self._watches: dict[str, list[Watch]] = defaultdict(list)
        self._subscribers: dict[str, list[Subscriber]] = defaultdict(list)
        self._undelivered: deque[tuple[str, WatchEvent]] = deque()
        self._delivering = False
        self._database = Database(path, history_limit=history_limit)
        self._tables: dict[str, Table] = defaultdict(MemoryTable)
        self._tables |= {resource: DiskTable(self._database, resource) for resource in on_disk}
        self._load(on_disk)
        self._last_run_rv = self._database.last_rv()
        self._first_rv = self._rv = self._last_run_rv + RV_SKIP
        self._database.mark_opened(self._rv)

    def free_memory(self) -> None:
        """Let go of what the file's cache holds; the objects stay in memory."""
        self._database.free_memory()

    def close(self) -> None:
        """End all watches and close the file.  Idempotent."""
        for watches in self._watches.values():
            for watch in tuple(watches):
                watch.close()
        self._database.close()

    def current_rv(self) -> int:
        """Version of the latest change."""
        return self._rv

    @property
    def is_writable(self) -> bool:
        """The last write succeeded."""
        return not self._database.write_failed

    def get(self, key: ObjectKey) -> Obj:
        """Raises NotFoundError."""
        found = self.find(key)
        if found is None:
            raise NotFoundError(f"cannot find {key}")
        return found

    def find(self, key: ObjectKey) -> Obj | None:
        """The object, or ``None``."""
        return self._tables[key.resource].find((key.namespace, key.name))

    def list(self, resource: str, namespace: str | None = None) -> tuple[list[Obj], int]:
        """Objects in the order of (namespace, name), and the version at which this is so."""
        return [obj for _, obj in self._tables[resource].items(namespace)], self._rv

    def scan(self, resource: str) -> Iterator[Obj]:
        """The objects one by one, in the order of :meth:`list`; nothing may be written until the last was taken."""
        return (obj for _, obj in self._tables[resource].items())

    def oldest(self, resource: str, limit: int) -> deque[tuple[int, ObjectKey]]:
        """Version and key of those that were written longest ago."""
        return self._database.oldest(resource, limit)

    def count(self, resource: str) -> int:
        """How many objects there are."""
        return len(self._tables[resource])

    def list_at(self, resource: str, namespace: str | None, rv: int) -> Objects:
        """As :meth:`list`, at a past version.  Raises GoneError when that is not known (any more)."""
        self._check_history(rv)
        past = dict(self._tables[resource].items(namespace))
        for there, name, doc in self._database.states_at(resource, rv):
            if doc is None:
                past.pop((there, name), None)
            else:
                past[there, name] = _decode(doc)
        return [past[place] for place in sorted(past) if namespace in (None, place[0])]

    def create(self, key: ObjectKey, obj: Obj) -> Obj:
        """Add an object.  Raises ExistsError, and those of :meth:`Database.write`."""
        if self.find(key) is not None:
            raise ExistsError(f"cannot create {key}: it exists already")
        return self._commit(key, "ADDED", obj, None)

    def update(self, key: ObjectKey, obj: Obj, *, expected_rv: str | None = None) -> Obj:
        """Replace an object; one that is the same already keeps its version.

        Raises:
            NotFoundError: It is not there.
            ConflictError: Its version is not ``expected_rv``.
        """
        current = self.get(key)
        _check_rv(key, current, expected_rv)
        if _same(current, obj):
            return current
        return self._commit(key, "MODIFIED", obj, current)

    def mutate(self, key: ObjectKey, fn: Callable[[Obj], Obj | None]) -> Obj:
        """Read, change, write.  ``fn`` gets a copy that it may change and return; ``None`` means no change.

        Raises:
            NotFoundError: It is not there.
        """
        changed = fn(copy(self.get(key)))
        return self.get(key) if changed is None else self.update(key, changed)

    def delete(self, key: ObjectKey, *, expected_rv: str | None = None, expected_uid: str | None = None) -> Obj:
        """Remove an object; returns its last state.

        Raises:
            NotFoundError: It is not there.
            ConflictError: Its version or uid is not the expected one.
        """
        current = self.get(key)
        _check_rv(key, current, expected_rv)
        uid = current["metadata"].get("uid")
        if expected_uid is not None and uid != expected_uid:
            raise ConflictError(f'cannot change {key}: its uid is "{uid}", not "{expected_uid}"')
        return self._commit(key, "DELETED", current, current)

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        since_rv: int | None = None,
        *,
        progress: bool = False,
    ) -> Watch:
        """Changes after ``since_rv`` (default: from now on).  Close it when done.

        With ``progress`` a BOOKMARK comes now and then, so that the reader's version stays within the history
        also while only other resources change.

        Raises:
            GoneError: The history since that version is not known (any more).
        """
        start = self._rv if since_rv is None else since_rv
        self._check_history(start)
        watches = self._watches[resource]
        watch = Watch(
            namespace=namespace,
            start_rv=start,
            replay_until_rv=self._rv,
            replay=lambda after, limit: self._replay(resource, after, limit),
            capacity=self._watch_capacity,
            progress=progress,
            on_close=watches.remove,
        )
        watches.append(watch)
        return watch

    def subscribe(self, resource: str, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback`` at each change, in order and before the write returns; returns the undo.

        A callback may write; its own change is delivered after the current one.
        """
        subscribers = self._subscribers[resource]
        subscribers.append(callback)

        def undo() -> None:
            if callback in subscribers:
                subscribers.remove(callback)

        return undo

    def _load(self, on_disk: Collection[str]) -> None:
        for key, doc in self._database.load(without=on_disk):
            obj = decode_stored(key, doc)
            if obj is not None:
                self._tables[key.resource].put((key.namespace, key.name), obj)

    def _commit(self, key: ObjectKey, kind: EventType, obj: Obj, previous: Obj | None) -> Obj:
        rv = self._rv + 1
        doc = _encode({**obj, "metadata": {**obj["metadata"], "resourceVersion": str(rv)}})
        previous_rv = None if previous is None else int(previous["metadata"]["resourceVersion"])
        self._database.write(
            Change(
                key=key,
                type=kind,
                rv=rv,
                at_ns=self._clock.now_ns(),
                doc=doc,
                previous_rv=previous_rv,
                makes_room=kind == "DELETED" or "deletionTimestamp" in obj["metadata"],
            )
        )
        stored: Obj = _decode(doc)
        self._rv = rv
        if kind == "DELETED":
            self._tables[key.resource].remove((key.namespace, key.name))
        else:
            self._tables[key.resource].put((key.namespace, key.name), stored)
        self._deliver(key.resource, WatchEvent(kind, stored, previous, rv))
        return stored

    def _deliver(self, resource: str, event: WatchEvent) -> None:
        self._undelivered.append((resource, event))
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._undelivered:
                self._deliver_one(*self._undelivered.popleft())
            if self._rv % _PROGRESS_EVERY == 0:
                self._offer_progress()
        finally:
            self._delivering = False

    def _deliver_one(self, resource: str, event: WatchEvent) -> None:
        for watch in self._watches[resource]:
            watch.offer(event)
        for subscriber in tuple(self._subscribers[resource]):
            try:
                subscriber(event)
            except Exception:
                _log.exception("a subscriber to %s failed on %s", resource, event.type)

    def _offer_progress(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.offer_progress(self._rv)

    def _replay(self, resource: str, after_rv: int, limit: int) -> Events:
        self._check_history(after_rv)
        return [
            WatchEvent(
                row.type,  # type: ignore[arg-type]
                _decode(row.doc),
                None if row.previous is None else _decode(row.previous),
                row.rv,
            )
            for row in self._database.history(resource, after_rv, limit)
        ]

    def _check_history(self, rv: int) -> None:
        if rv < self._database.compacted_rv:
            raise GoneError(f"too old resource version: {rv} ({self._database.compacted_rv})")
        if rv > self._rv or self._last_run_rv < rv < self._first_rv:
            # Handed out before a power failure that took it: the client has seen what no longer is.
            raise GoneError(f"resource version {rv} is not known here ({self._rv})")


def copy(obj: Obj) -> Obj:
    """A private copy of a stored object."""
    copied: Obj = _decode(_encode(obj))
    return copied


def _check_rv(key: ObjectKey, current: Obj, expected_rv: str | None) -> None:
    rv = current["metadata"]["resourceVersion"]
    if expected_rv is not None and expected_rv != rv:
        raise ConflictError(f'cannot change {key}: it is at version {rv}, not "{expected_rv}"')


def _same(current: Obj, obj: Obj) -> bool:
    rv = current["metadata"]["resourceVersion"]
    return current == {**obj, "metadata": {**obj["metadata"], "resourceVersion": rv}}
