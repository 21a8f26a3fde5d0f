"""What the client wants to see: the object itself, a table, or its metadata only; as JSON or YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from podhost.api import errors
from podhost.api.columns import table_columns, table_row
from podhost.api.kind import Kind

Obj = dict[str, Any]

_JSON_TYPES = frozenset({"application/json", "*/*", "application/*"})
_YAML = "application/yaml"
ACCEPTED = ("application/json", _YAML)


class View(Enum):
    """Shape of the answer."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"


@dataclass(frozen=True, slots=True)
class Representation:
    """Outcome of the negotiation."""

    view: View = View.OBJECT
    yaml: bool = False
    include_object: str = "Metadata"
    """What a table's rows carry: ``None``, ``Metadata`` or ``Object``."""

    @property
    def content_type(self) -> str:
        return _YAML if self.yaml else "application/json"


PLAIN = Representation()


def negotiate(accept: str, include_object: str = "") -> Representation:
    """The first of the client's wishes that can be met; ``accept`` is the header, ``""`` when absent.

    Raises:
        ApiError: 406 when there is none.
    """
    if not accept:
        return PLAIN
    for media, parameters in parse_accept(accept):
        if media not in _JSON_TYPES and media != _YAML:
            continue
        view = _view(parameters)
        if view is not None:
            return Representation(view, media == _YAML, include_object or "Metadata")
    raise errors.not_acceptable(ACCEPTED)


def negotiate_stream(accept: str, include_object: str = "") -> Representation:
    """As :func:`negotiate` for a watch, which comes in JSON only.  Raises ApiError (406)."""
    wishes = [part for part in accept.split(",") if not part.strip().lower().startswith(_YAML)]
    if accept and not wishes:
        raise errors.not_acceptable(("application/json", "application/json;stream=watch"))
    return negotiate(",".join(wishes), include_object)


def parse_accept(accept: str) -> list[tuple[str, Mapping[str, str]]]:
    """Media types with their parameters, best first."""
    entries = []
    for part in accept.split(","):
        media, *fields = (field.strip() for field in part.split(";"))
        parameters = {key.strip(): value.strip() for key, _, value in (f.partition("=") for f in fields)}
        entries.append((media.lower(), parameters))
    return sorted(entries, key=lambda entry: -_quality(entry[1]))


def build_metadata_only(obj: Obj) -> Obj:
    """``PartialObjectMetadata``."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def build_list(kind: Kind, items: Sequence[Any], metadata: Obj) -> Obj:
    """``items`` are objects, or their JSON as ``msgspec.Raw``."""
    return {
        "kind": f"{kind.kind}List",
        "apiVersion": kind.group_version,
        "metadata": metadata,
        "items": items,
    }


def shape_object(kind: Kind, obj: Obj, shape: Representation, now: datetime) -> Obj:
    """The object in the form that the client wants."""
    match shape.view:
        case View.OBJECT:
            return obj
        case View.METADATA:
            return build_metadata_only(obj)
        case View.TABLE:
            metadata = {name: obj["metadata"][name] for name in ("resourceVersion",) if name in obj["metadata"]}
            return build_table(kind, [obj], metadata, now, include_object=shape.include_object)


def shape_list(kind: Kind, items: Sequence[Any], metadata: Obj, shape: Representation, now: datetime) -> Obj:
    """The list in the form that the client wants.  Items may be encoded already where they go as they are."""
    match shape.view:
        case View.OBJECT:
            return build_list(kind, items, metadata)
        case View.METADATA:
            return build_metadata_list(items, metadata)
        case View.TABLE:
            return build_table(kind, items, metadata, now, include_object=shape.include_object)


def build_metadata_list(items: Sequence[Obj], metadata: Obj) -> Obj:
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "items": [build_metadata_only(item) for item in items],
    }


def build_table(
    kind: Kind,
    items: Sequence[Obj],
    metadata: Obj,
    now: datetime,
    *,
    include_object: str = "Metadata",
    with_columns: bool = True,
) -> Obj:
    """``meta.k8s.io/v1`` Table, as ``kubectl get`` prints it."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": table_columns(kind) if with_columns else [],
        "rows": [_build_row(kind, item, now, include_object) for item in items],
    }


def build_table_bookmark(kind: Kind, bookmark: Obj, *, with_columns: bool) -> Obj:
    """A bookmark among the tables of a watch: one row without cells."""
    columns = table_columns(kind) if with_columns else []
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": bookmark["metadata"]["resourceVersion"]},
        "columnDefinitions": columns,
        "rows": [{"cells": [None] * len(kind.columns), "object": build_metadata_only(bookmark)}],
    }


def _build_row(kind: Kind, item: Obj, now: datetime, include_object: str) -> Obj:
    row: Obj = table_row(kind, item, now)
    if include_object == "Object":
        row["object"] = item
    elif include_object == "Metadata":
        row["object"] = build_metadata_only(item)
    return row


def _view(parameters: Mapping[str, str]) -> View | None:
    """``None``: a form that we do not have."""
    wanted = parameters.get("as", "")
    if not wanted:
        return View.OBJECT
    if (parameters.get("g"), parameters.get("v")) != ("meta.k8s.io", "v1"):
        return None
    if wanted == "Table":
        return View.TABLE
    return View.METADATA if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList") else None


def _quality(parameters: Mapping[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
