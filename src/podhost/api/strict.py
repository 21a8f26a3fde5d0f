"""What strict decoding finds in a JSON text: fields that are unknown, or there twice, in the order of the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from podhost.api.schema import Type, definition


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written."""


def has_duplicates(text: bytes) -> bool:
    """Some object of the text has a key twice.  Raises ValueError for what is not JSON."""
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or (len(pairs) > 1 and len({key for key, _ in pairs}) < len(pairs))

    json.loads(text, object_pairs_hook=check)
    return found


def find_strict_problems(text: bytes, definition_name: str) -> list[str]:
    """``unknown field "spec.foo"``, ``duplicate field "spec.bar"``.  Raises ValueError for what is not JSON."""
    document = json.loads(text, object_pairs_hook=_Pairs)
    return list(dict.fromkeys(_problems(document, Type("ref", ref=definition_name), "")))


def _problems(value: Any, kind: Type, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs) and kind.kind == "ref":
        fields = definition(kind.ref).fields
        seen: set[str] = set()
        for key, child in value:
            name = f"{path}.{key}" if path else key
            field = fields.get(key)
            if field is None:
                yield f'unknown field "{name}"'
                continue
            if key in seen:
                yield f'duplicate field "{name}"'
            seen.add(key)
            yield from _problems(child, field.type, name)
    elif isinstance(value, _Pairs) and kind.kind == "map" and kind.item is not None:
        yield from _map_problems(value, kind.item, path)
    elif isinstance(value, list) and kind.kind == "list" and kind.item is not None:
        for index, child in enumerate(value):
            yield from _problems(child, kind.item, f"{path}[{index}]")


def _map_problems(pairs: _Pairs, item: Type, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for key, child in pairs:
        if key in seen:
            yield f'duplicate field "{path}.{key}"'
        seen.add(key)
        yield from _problems(child, item, f"{path}.{key}")
