"""Where the present objects of one resource are kept: in memory as well, or in the database only.

Objects that are read all the time are in memory.  Those that are written and hardly ever read (Events: a dozen for
each pod that comes and goes, kept for an hour) would take 3 KiB of it each; finding one on disk takes 10 µs.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from podhost.store.database import Database
from podhost.store.keys import ObjectKey

Obj = dict[str, Any]
Objects = list[Obj]
Place = tuple[str, str]
"""Namespace and name."""

_log = logging.getLogger(__name__)
_decode = msgspec.json.decode


class Table(Protocol):
    """The present objects of a resource.  What it returns is shared: never mutate it."""

    def find(self, place: Place) -> Obj | None: ...

    def put(self, place: Place, obj: Obj) -> None:
        """``obj`` has just been written to the database."""
        ...

    def remove(self, place: Place) -> None:
        """It has just been removed from the database."""
        ...

    def items(self, namespace: str | None = None) -> Iterator[tuple[Place, Obj]]:
        """In the order of places.  Nothing is written until the last was taken."""
        ...

    def __len__(self) -> int: ...


class MemoryTable:
    """In memory as well."""

    def __init__(self) -> None:
        self._objects: dict[Place, Obj] = {}
        self._places: list[Place] = []
        """In order, so that a page of a long list needs no sorting."""

    def find(self, place: Place) -> Obj | None:
        return self._objects.get(place)

    def put(self, place: Place, obj: Obj) -> None:
        if place not in self._objects:
            insort(self._places, place)
        self._objects[place] = obj

    def remove(self, place: Place) -> None:
        del self._objects[place]
        del self._places[bisect_left(self._places, place)]

    def items(self, namespace: str | None = None) -> Iterator[tuple[Place, Obj]]:
        places, objects = self._places, self._objects
        if namespace is not None:
            # No name has a character this low: the next namespace begins behind all of this one's objects.
            first, end = bisect_left(places, (namespace, "")), bisect_left(places, (namespace + "\0", ""))
            places = places[first:end]
        return ((place, objects[place]) for place in places)

    def __len__(self) -> int:
        return len(self._objects)


class DiskTable:
    """In the database only.  Every method may raise UnavailableError."""

    def __init__(self, database: Database, resource: str) -> None:
        self._database = database
        self._resource = resource

    def find(self, place: Place) -> Obj | None:
        doc = self._database.read(ObjectKey(self._resource, *place))
        return None if doc is None else self._decode(place, doc)

    def put(self, place: Place, obj: Obj) -> None:
        pass

    def remove(self, place: Place) -> None:
        pass

    def items(self, namespace: str | None = None) -> Iterator[tuple[Place, Obj]]:
        for *names, doc in self._database.read_all(self._resource, namespace):
            place = (names[0], names[1])
            obj = self._decode(place, doc)
            if obj is not None:
                yield place, obj

    def __len__(self) -> int:
        return self._database.count(self._resource)

    def _decode(self, place: Place, doc: bytes) -> Obj | None:
        return decode_stored(ObjectKey(self._resource, *place), doc)


def decode_stored(key: ObjectKey, doc: bytes) -> Obj | None:
    """One broken record keeps nobody from the others."""
    try:
        obj: Obj = _decode(doc)
    except msgspec.DecodeError:
        _log.exception("cannot read %s from the store: it is left out", key)
        return None
    return obj
