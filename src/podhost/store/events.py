"""Event objects, recorded with client-go's correlation."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from podhost.aiokit.clock import Clock
from podhost.errors import PodhostError
from podhost.store.keys import ObjectKey
from podhost.store.store import Obj, Store
from podhost.store.watch import WatchEvent

_NS_PER_S = 1_000_000_000
_CACHE_SIZE = 4096
_SIMILAR_LIMIT = 10
_SIMILAR_WINDOW_NS = 600 * _NS_PER_S
_MAX_MESSAGE = 1024

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Similar:
    """Events of one object and reason that differ in their message only."""

    messages: set[str]
    last_ns: int


class EventRecorder:
    """Writes events in the name of one component.

    The same event again raises ``count``; more than ten that differ in the message only, within ten minutes,
    become one "(combined from similar events)", as client-go's EventCorrelator does it.  What it has to remember of
    a pod is forgotten with the pod.
    """

    def __init__(self, store: Store, clock: Clock, component: str, host: str) -> None:
        self._store = store
        self._clock = clock
        self._component = component
        self._host = host
        self._seen: OrderedDict[tuple[str, ...], ObjectKey] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._last_suffix = 0
        store.subscribe("pods", self._on_pod)

    @property
    def remembered(self) -> int:
        """Events that would be counted up if they came again."""
        return len(self._seen)

    def _on_pod(self, change: WatchEvent) -> None:
        if change.type != "DELETED":
            return
        uid = change.object["metadata"].get("uid", "")
        _forget(self._seen, uid)
        _forget(self._similar, uid)

    def event(
        self,
        involved: Obj,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        field_path: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Record that something happened to ``involved``, an API object.  Never raises."""
        try:
            self._record(_reference(involved, field_path), type, reason, message, annotations)
        except Exception as error:
            level = logging.WARNING if isinstance(error, PodhostError) else logging.ERROR
            _log.log(level, "cannot record event %s %s: %s", reason, message, error)

    def _record(
        self, reference: Obj, type: str, reason: str, message: str, annotations: Mapping[str, str] | None
    ) -> None:
        now_ns = self._clock.now_ns()
        about = (*(str(reference.get(part, "")) for part in _REFERENCE_FIELDS), type, reason)
        message, seen_key = self._correlate(about, message, now_ns)
        key = self._seen.get(seen_key)
        if key is not None and self._store.find(key) is not None:
            self._store.mutate(key, lambda event: _again(event, message, _timestamp(now_ns)))
            self._seen.move_to_end(seen_key)
            return
        event = self._new_event(reference, type, reason, message, now_ns)
        metadata = event["metadata"]
        if annotations:
            metadata["annotations"] = dict(annotations)
        key = ObjectKey("events", metadata["namespace"], metadata["name"])
        self._store.create(key, event)
        _remember(self._seen, seen_key, key)

    def _correlate(self, about: tuple[str, ...], message: str, now_ns: int) -> tuple[str, tuple[str, ...]]:
        similar = self._similar.get(about)
        if similar is None or now_ns - similar.last_ns > _SIMILAR_WINDOW_NS:
            similar = _Similar(set(), now_ns)
            _remember(self._similar, about, similar)
        similar.last_ns = now_ns
        if message not in similar.messages and len(similar.messages) >= _SIMILAR_LIMIT:
            return f"(combined from similar events): {message}", about
        similar.messages.add(message)
        return message, (*about, message)

    def _new_event(self, reference: Obj, type: str, reason: str, message: str, now_ns: int) -> Obj:
        now = _timestamp(now_ns)
        namespace = reference.get("namespace") or "default"
        name = reference.get("name", "")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{name}.{self._next_suffix(namespace, name, now_ns):x}",
                "namespace": namespace,
                "uid": str(uuid4()),
                "creationTimestamp": now,
            },
            "involvedObject": reference,
            "reason": reason,
            "message": message[:_MAX_MESSAGE],
            "source": {"component": self._component, "host": self._host},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    def _next_suffix(self, namespace: str, name: str, now_ns: int) -> int:
        """The time, as client-go names events; later when it has been used: two may come at the same time."""
        suffix = max(now_ns, self._last_suffix + 1)
        while self._store.find(ObjectKey("events", namespace, f"{name}.{suffix:x}")) is not None:
            suffix += 1  # by another component's recorder
        self._last_suffix = suffix
        return suffix


_REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")
_UID_PLACE = _REFERENCE_FIELDS.index("uid")


def _reference(involved: Obj, field_path: str) -> Obj:
    metadata = involved["metadata"]
    reference = {
        "kind": involved.get("kind", ""),
        "namespace": metadata.get("namespace", ""),
        "name": metadata.get("name", ""),
        "uid": metadata.get("uid", ""),
        "apiVersion": involved.get("apiVersion", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
        "fieldPath": field_path,
    }
    return {field: value for field, value in reference.items() if value}


def _again(event: Obj, message: str, now: str) -> Obj:
    return {
        **event,
        "message": message[:_MAX_MESSAGE],
        "count": event.get("count", 1) + 1,
        "lastTimestamp": now,
    }


def _remember(cache: OrderedDict[tuple[str, ...], Any], key: tuple[str, ...], value: object) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > _CACHE_SIZE:
        cache.popitem(last=False)


def _forget(cache: OrderedDict[tuple[str, ...], Any], uid: str) -> None:
    for key in [key for key in cache if key[_UID_PLACE] == uid]:
        del cache[key]


def _timestamp(now_ns: int) -> str:
    return datetime.fromtimestamp(now_ns // _NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
