"""The official definitions as facts, and the structural check of documents against them.

The facts are generated (``scripts/generate_api``) and loaded at first use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """Type of a field.  ``kind`` is a scalar's word, ``ref``, ``list``, ``map`` or ``any``."""

    kind: str
    ref: str = ""
    item: Type | None = None

    @property
    def element_ref(self) -> str:
        """The structure that this refers to, directly or as an element; empty for scalars."""
        return self.ref or (self.item.element_ref if self.item is not None else "")


@dataclass(frozen=True, slots=True)
class Field:
    """What patches and apply need to know about a field."""

    type: Type
    required: bool = False
    patch_strategy: frozenset[str] = frozenset()
    """``merge``, ``retainKeys``, ``replace``."""
    merge_key: str = ""
    list_type: str = ""
    """``atomic``, ``set``, ``map``."""
    list_map_keys: tuple[str, ...] = ()
    map_type: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """One structure.  ``short_name`` is the Go type without its package."""

    name: str
    fields: Mapping[str, Field]
    gvk: tuple[str, str, str] | None = None
    atomic: bool = False

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def go_type(self) -> str:
        """``v1.PodSpec``."""
        return ".".join(self.name.split(".")[-2:])


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(__file__).with_name("schema_facts.json").read_bytes())
    return facts


def _build_type(data: Any) -> Type:
    if isinstance(data, str):
        return Type(data)
    if "ref" in data:
        return Type("ref", ref=data["ref"])
    kind = "list" if "list" in data else "map"
    return Type(kind, item=_build_type(data[kind]))


@cache
def definition(name: str) -> Definition:
    """The facts of one definition.  Raises KeyError for an unknown name."""
    facts = _facts()[name]
    required = set(facts.get("required", ()))
    fields = {
        key: Field(
            type=_build_type(data["type"]),
            required=key in required,
            patch_strategy=frozenset(filter(None, data.get("patchStrategy", "").split(","))),
            merge_key=data.get("patchMergeKey", ""),
            list_type=data.get("listType", ""),
            list_map_keys=tuple(data.get("listMapKeys", ())),
            map_type=data.get("mapType", ""),
        )
        for key, data in facts["fields"].items()
    }
    gvk = facts.get("gvk")
    return Definition(name, fields, (gvk[0], gvk[1], gvk[2]) if gvk else None, facts.get("mapType") == "atomic")


def definition_names() -> list[str]:
    """All definitions in the table."""
    return list(_facts())
