"""JSON of stored objects, kept for the next reader.

A list of a thousand pods is encoded for tens of milliseconds, in which the event loop does nothing else; most of them
have not changed since the last one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

Obj = dict[str, Any]

LIMIT_BYTES = 8 << 20


class EncodedObjects:
    """The most recently encoded objects, up to ``limit_bytes`` in all."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._known: OrderedDict[tuple[str, str], tuple[str, bytes]] = OrderedDict()
        """Version and JSON, by uid and API version."""
        self._api_versions: set[str] = set()

    def encode_all(self, objects: Iterable[Obj]) -> list[msgspec.Raw]:
        """To be put into a document in place of the objects, which must be as stored."""
        return [msgspec.Raw(self.encode(obj)) for obj in objects]

    def forget(self, obj: Obj) -> None:
        """It has been deleted: nobody will read it again."""
        uid = obj["metadata"].get("uid", "")
        for api_version in self._api_versions:
            self._size_bytes -= len(self._known.pop((uid, api_version), ("", b""))[1])

    def encode(self, obj: Obj) -> bytes:
        metadata = obj["metadata"]
        key, version = (metadata.get("uid", ""), obj.get("apiVersion", "")), metadata.get("resourceVersion", "")
        if not key[0]:
            return msgspec.json.encode(obj)
        known, encoded = self._known.pop(key, ("", b""))
        if known != version:
            self._size_bytes -= len(encoded)
            encoded = msgspec.json.encode(obj)
            self._size_bytes += len(encoded)
        self._known[key] = (version, encoded)
        self._api_versions.add(key[1])
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= len(self._known.popitem(last=False)[1][1])
        return encoded
