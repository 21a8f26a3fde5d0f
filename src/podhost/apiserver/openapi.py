"""OpenAPI documents, made from the facts table and the kinds.

Enough for clients to know types, patch keys and which parameters a PATCH takes; descriptions are not included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from podhost.api import schema
from podhost.api.kind import Kind
from podhost.api.kinds import KINDS
from podhost.apiserver import patching
from podhost.apiserver.discovery import group_versions

Obj = dict[str, Any]

_SCALARS: dict[str, Obj] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"type": "string"},
    "intorstring": {"type": "string", "format": "int-or-string"},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty")


@cache
def paths_document() -> bytes:
    """``/openapi/v3``: where the documents are.  The hash lets clients keep them."""
    paths = {}
    for path in _documents():
        digest = hashlib.sha256(group_document(path) or b"").hexdigest()[:32].upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return msgspec.json.encode({"paths": paths})


@cache
def group_document(path: str) -> bytes | None:
    """``/openapi/v3/<path>``, such as ``api/v1``; ``None`` for an unknown one."""
    kinds = _documents().get(path)
    if kinds is None:
        return None
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.37.1+podhost"},
            "paths": _build_paths(kinds),
            "components": {"schemas": _build_schemas(kinds, "#/components/schemas/")},
        }
    )


@cache
def v2_document() -> bytes:
    """``/openapi/v2``."""
    definitions = _build_schemas(KINDS, "#/definitions/")
    return msgspec.json.encode(
        {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1.37.1+podhost"},
            "paths": {},
            "definitions": definitions,
        }
    )


def v2_protobuf() -> bytes:
    """``/openapi/v2`` in protobuf (``openapi.v2.Document``): a document that describes nothing.

    kubectl asks for it when it meets a kind that ``/openapi/v3`` does not have, and needs it to be there before
    it can say that there is no such kind.
    """
    info = _field(1, b"Kubernetes") + _field(2, b"v1.37.1+podhost")
    return _field(1, b"2.0") + _field(2, info) + _field(8, b"")


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


@cache
def _documents() -> dict[str, tuple[Kind, ...]]:
    return {
        (f"apis/{group}/{version}" if group else f"api/{version}"): tuple(
            kind for kind in KINDS if (kind.group, kind.version) == (group, version)
        )
        for group, versions in group_versions(KINDS).items()
        for version in versions
    }


def _build_paths(kinds: Iterable[Kind]) -> Obj:
    paths: Obj = {}
    for kind in kinds:
        prefix = f"/apis/{kind.group_version}" if kind.group else f"/api/{kind.version}"
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        collection = f"{prefix}{scope}/{kind.plural}"
        paths[collection] = {
            "get": _operation(kind, "list", ("labelSelector", "fieldSelector", "watch")),
            "post": _operation(kind, "post", _WRITE_PARAMETERS),
        }
        paths[collection + "/{name}"] = {
            "get": _operation(kind, "get", ()),
            "put": _operation(kind, "put", _WRITE_PARAMETERS),
            "patch": _patch_operation(kind),
            "delete": _operation(kind, "delete", ("dryRun", "gracePeriodSeconds", "propagationPolicy")),
        }
    return paths


def _operation(kind: Kind, action: str, parameters: Iterable[str]) -> Obj:
    ref = {"$ref": f"#/components/schemas/{kind.schema}"}
    return {
        "operationId": f"{action}{kind.kind}",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in parameters
        ],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": ref}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }


def _patch_operation(kind: Kind) -> Obj:
    content = {media: {"schema": {"type": "object"}} for media in patching.ACCEPTED}
    return _operation(kind, "patch", _WRITE_PARAMETERS) | {"requestBody": {"content": content}}


def _build_schemas(kinds: Iterable[Kind], prefix: str) -> Obj:
    """The definitions of these kinds and all that they refer to."""
    schemas: Obj = {}
    waiting = [kind.schema for kind in kinds]
    while waiting:
        name = waiting.pop()
        if name in schemas:
            continue
        definition = schema.definition(name)
        schemas[name] = _build_schema(definition, prefix)
        waiting.extend(field.type.element_ref for field in definition.fields.values() if field.type.element_ref)
    return dict(sorted(schemas.items()))


def _build_schema(definition: schema.Definition, prefix: str) -> Obj:
    built: Obj = {
        "type": "object",
        "properties": {name: _build_field(field, prefix) for name, field in definition.fields.items()},
    }
    required = [name for name, field in definition.fields.items() if field.required]
    if required:
        built["required"] = required
    if definition.gvk is not None:
        group, version, kind = definition.gvk
        built["x-kubernetes-group-version-kind"] = [{"group": group, "version": version, "kind": kind}]
    if definition.atomic:
        built["x-kubernetes-map-type"] = "atomic"
    return built


def _build_field(field: schema.Field, prefix: str) -> Obj:
    built = _build_type(field.type, prefix)
    if field.patch_strategy:
        built["x-kubernetes-patch-strategy"] = ",".join(sorted(field.patch_strategy))
    if field.merge_key:
        built["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.list_type:
        built["x-kubernetes-list-type"] = field.list_type
    if field.list_map_keys:
        built["x-kubernetes-list-map-keys"] = list(field.list_map_keys)
    if field.map_type:
        built["x-kubernetes-map-type"] = field.map_type
    return built


def _build_type(kind: schema.Type, prefix: str) -> Obj:
    if kind.ref:
        return (
            {"$ref": prefix + kind.ref}
            if prefix.endswith("definitions/")
            else {
                "allOf": [{"$ref": prefix + kind.ref}],
                "default": {},
            }
        )
    if kind.item is not None:
        inner = _build_type(kind.item, prefix)
        return (
            {"type": "array", "items": inner}
            if kind.kind == "list"
            else {
                "type": "object",
                "additionalProperties": inner,
            }
        )
    return dict(_SCALARS[kind.kind])
