"""How values merge: the schema's facts in the words of structured merge: granular or atomic, keyed list or set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from podhost.api import schema
from podhost.api.apply.field_sets import Step, key_step, value_step
from podhost.api.schema import Field, Type

ShapeKind = Literal["scalar", "atomic", "struct", "map", "list", "set"]

_KEY_DEFAULTS = {"protocol": "TCP"}
"""Of keys that a configuration may leave out: those of container and service ports."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one value is walked.

    ``struct`` has the fields of a definition, ``map`` free keys; the items of a ``list`` are told apart by ``keys``,
    those of a ``set`` by their value; ``atomic`` lists and maps are one value, like a ``scalar``.
    """

    kind: ShapeKind
    type: Type
    item: Shape | None = None
    keys: tuple[str, ...] = ()

    @property
    def leaf(self) -> bool:
        return self.kind in ("scalar", "atomic")

    def child(self, name: str) -> Shape | None:
        """Shape of a member of a struct or map; ``None``: no such field."""
        return self.item if self.kind == "map" else struct_fields(self.type.ref).get(name)

    def declares(self, name: str) -> bool:
        """The name is a field of the schema, not a free key."""
        return self.kind == "struct" and name in struct_fields(self.type.ref)

    def step(self, item: Any, index: int) -> Step:
        """How an item of a list or set is addressed; by its index when it lacks a key."""
        if self.kind == "set":
            return value_step(item) if not isinstance(item, dict | list) else f"i:{index}"
        found = self.keys_of(item)
        return f"i:{index}" if found is None else key_step(found)

    def keys_of(self, item: Any) -> dict[str, Any] | None:
        """Values of the keys, defaults included; ``None`` when one is missing."""
        if not isinstance(item, Mapping):
            return None
        found: dict[str, Any] = {}
        for key in self.keys:
            value = item.get(key)
            if value is None:
                value = _KEY_DEFAULTS.get(key)
            if value is None or isinstance(value, dict | list):
                return None
            found[key] = value
        return found

    def missing_key(self, item: Mapping[str, Any]) -> str:
        return next((key for key in self.keys if item.get(key) is None and key not in _KEY_DEFAULTS), self.keys[0])


@cache
def root_shape(definition_name: str) -> Shape:
    return Shape("struct", Type("ref", ref=definition_name))


@cache
def struct_fields(definition_name: str) -> Mapping[str, Shape]:
    """Shapes of the fields of a definition."""
    return {name: _field_shape(field) for name, field in schema.definition(definition_name).fields.items()}


def _field_shape(field: Field) -> Shape:
    kind = field.type
    if kind.kind == "list" and kind.item is not None:
        relation = _list_relation(field)
        return Shape(relation, kind, _type_shape(kind.item), _list_keys(field) if relation == "list" else ())
    if field.map_type == "atomic":
        return Shape("atomic", kind)
    return _type_shape(kind)


def _type_shape(kind: Type) -> Shape:
    if kind.kind == "ref":
        return Shape("atomic" if schema.definition(kind.ref).atomic else "struct", kind)
    if kind.kind == "map" and kind.item is not None:
        return Shape("map", kind, _type_shape(kind.item))
    return Shape("atomic" if kind.kind in ("list", "any") else "scalar", kind)


def _list_relation(field: Field) -> ShapeKind:
    if field.list_type:
        return "list" if field.list_type == "map" else "set" if field.list_type == "set" else "atomic"
    if "merge" not in field.patch_strategy:
        return "atomic"
    return "list" if field.merge_key else "set"


def _list_keys(field: Field) -> tuple[str, ...]:
    return field.list_map_keys or (field.merge_key,)
