"""Another form of stored objects, converted on the way in and out: a second API version of one storage.

A resource that is a view has the same objects, names and versions as the one that is stored.  To who works with the
:class:`ObjectStore` there is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from podhost.api.kind import StoredForm
from podhost.store.keys import ObjectKey
from podhost.store.store import Obj, Objects, Store
from podhost.store.watch import WatchEvent


class ObjectWatch(Protocol):
    """A stream of changes, as of :class:`podhost.store.watch.Watch`."""

    @property
    def idle(self) -> bool: ...

    async def next_batch(self) -> list[WatchEvent]: ...

    async def backlog(self) -> list[WatchEvent]: ...

    def offer_progress(self, rv: int) -> None: ...

    def close(self) -> None: ...


class ObjectStore(Protocol):
    """What the API server's verbs need of a store.  Semantics and errors are those of :class:`Store`."""

    def current_rv(self) -> int: ...

    def find(self, key: ObjectKey) -> Obj | None: ...

    def list(self, resource: str, namespace: str | None = None) -> tuple[list[Obj], int]: ...

    def list_at(self, resource: str, namespace: str | None, rv: int) -> Objects: ...

    def create(self, key: ObjectKey, obj: Obj) -> Obj: ...

    def update(self, key: ObjectKey, obj: Obj, *, expected_rv: str | None = None) -> Obj: ...

    def delete(self, key: ObjectKey, *, expected_rv: str | None = None, expected_uid: str | None = None) -> Obj: ...

    def watch(
        self, resource: str, namespace: str | None = None, since_rv: int | None = None, *, progress: bool = False
    ) -> ObjectWatch: ...


def _unchanged(obj: Obj) -> Obj:
    return obj


class ViewedStore:
    """A store in which some resources are views of others."""

    def __init__(self, store: Store, views: Mapping[str, StoredForm]) -> None:
        self._store = store
        self._views = views

    def current_rv(self) -> int:
        return self._store.current_rv()

    def find(self, key: ObjectKey) -> Obj | None:
        view = self._view(key.resource)
        found = self._store.find(_stored_key(key, view))
        return None if found is None else view.from_stored(found)

    def list(self, resource: str, namespace: str | None = None) -> tuple[list[Obj], int]:
        view = self._views.get(resource)
        if view is None:
            return self._store.list(resource, namespace)
        objects, rv = self._store.list(view.resource, namespace)
        return list(map(view.from_stored, objects)), rv

    def list_at(self, resource: str, namespace: str | None, rv: int) -> Objects:
        view = self._view(resource)
        return list(map(view.from_stored, self._store.list_at(view.resource, namespace, rv)))

    def create(self, key: ObjectKey, obj: Obj) -> Obj:
        view = self._view(key.resource)
        return view.from_stored(self._store.create(_stored_key(key, view), view.to_stored(obj)))

    def update(self, key: ObjectKey, obj: Obj, *, expected_rv: str | None = None) -> Obj:
        view = self._view(key.resource)
        updated = self._store.update(_stored_key(key, view), view.to_stored(obj), expected_rv=expected_rv)
        return view.from_stored(updated)

    def delete(self, key: ObjectKey, *, expected_rv: str | None = None, expected_uid: str | None = None) -> Obj:
        view = self._view(key.resource)
        deleted = self._store.delete(_stored_key(key, view), expected_rv=expected_rv, expected_uid=expected_uid)
        return view.from_stored(deleted)

    def watch(
        self, resource: str, namespace: str | None = None, since_rv: int | None = None, *, progress: bool = False
    ) -> ObjectWatch:
        view = self._view(resource)
        watch = self._store.watch(view.resource, namespace, since_rv, progress=progress)
        return watch if resource not in self._views else _ViewedWatch(watch, view.from_stored)

    def _view(self, resource: str) -> StoredForm:
        return self._views.get(resource) or StoredForm(resource, _unchanged, _unchanged)


class _ViewedWatch:
    """A watch whose events carry converted objects."""

    def __init__(self, watch: ObjectWatch, convert: Callable[[Obj], Obj]) -> None:
        self._watch = watch
        self._convert = convert

    @property
    def idle(self) -> bool:
        return self._watch.idle

    async def next_batch(self) -> list[WatchEvent]:
        return [self._converted(event) for event in await self._watch.next_batch()]

    def offer_progress(self, rv: int) -> None:
        self._watch.offer_progress(rv)

    async def backlog(self) -> list[WatchEvent]:
        return [self._converted(event) for event in await self._watch.backlog()]

    def close(self) -> None:
        self._watch.close()

    def _converted(self, event: WatchEvent) -> WatchEvent:
        if event.type == "BOOKMARK":
            return event
        changes: dict[str, Any] = {"object": self._convert(event.object)}
        if event.previous is not None:
            changes["previous"] = self._convert(event.previous)
        return replace(event, **changes)


def _stored_key(key: ObjectKey, view: StoredForm) -> ObjectKey:
    return key if key.resource == view.resource else replace(key, resource=view.resource)
