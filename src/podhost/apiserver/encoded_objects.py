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

LIMIT_BYTES = 16 << 20


class EncodedObjects:
    """The most recently encoded objects, up to ``limit_bytes`` in all."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._known: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()

    def encode_all(self, objects: Iterable[Obj]) -> list[msgspec.Raw]:
        """To be put into a document in place of the objects, which must be as stored."""
        return [msgspec.Raw(self._encode(obj)) for obj in objects]

    def _encode(self, obj: Obj) -> bytes:
        metadata = obj["metadata"]
        key = (metadata.get("uid", ""), metadata.get("resourceVersion", ""), obj.get("apiVersion", ""))
        if not key[0]:
            return msgspec.json.encode(obj)
        encoded = self._known.get(key)
        if encoded is not None:
            self._known.move_to_end(key)
            return encoded
        encoded = self._known[key] = msgspec.json.encode(obj)
        self._size_bytes += len(encoded)
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= len(self._known.popitem(last=False)[1])
        return encoded
