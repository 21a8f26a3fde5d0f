"""Schemas of the OpenAPI documents, made from the facts table.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from podhost.api import schema
from podhost.api.descriptions import Descriptions
from podhost.apiserver.openapi_own import OWN_DEFINITIONS

Obj = dict[str, Any]

V2_PREFIX, V3_PREFIX = "#/definitions/", "#/components/schemas/"
_SCALARS: dict[str, Obj] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}

_TIME: Obj = {"type": "string", "format": "date-time"}
_NAMED_SCALARS: dict[str, tuple[str, Obj, Obj]] = {
    "time": ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", _TIME, _TIME),
    "microtime": ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", _TIME, _TIME),
    "quantity": (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        {"type": "string"},
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    "intorstring": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {"type": "string", "format": "int-or-string"},
        {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    ),
}
"""Values with a definition of their own, by whose name ``kubectl explain`` calls them: in version 2, and in 3."""
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"


def build_schemas(roots: Iterable[str], prefix: str, descriptions: Descriptions) -> Obj:
    """These definitions and all that they refer to.  ``prefix`` is that of references, and tells the version."""
    schemas: Obj = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in schemas:
            continue
        definition = OWN_DEFINITIONS.get(name) or schema.definition(name)
        schemas[name] = _build_schema(definition, prefix, descriptions.get(name, {}))
        waiting.extend(field.type.element_ref for field in definition.fields.values() if field.type.element_ref)
    for name, v2, v3 in _NAMED_SCALARS.values():
        texts = descriptions.get(name, {})
        schemas[name] = ({"description": texts[""]} if "" in texts else {}) | (v2 if prefix == V2_PREFIX else v3)
    return dict(sorted(schemas.items()))


def build_list_schema(schema_name: str, gvk: tuple[str, str, str], prefix: str) -> Obj:
    """The definition of a list of objects.  ``gvk`` is the list's own."""
    properties = {
        "apiVersion": _SCALARS["string"],
        "items": {"type": "array", "items": _refer(schema_name, prefix)},
        "kind": _SCALARS["string"],
        "metadata": _refer(LIST_META, prefix),
    }
    kinds = [{"group": gvk[0], "version": gvk[1], "kind": gvk[2]}]
    return {
        "type": "object",
        "properties": properties,
        "required": ["items"],
        "x-kubernetes-group-version-kind": kinds,
    }


def _build_schema(definition: schema.Definition, prefix: str, texts: Mapping[str, str]) -> Obj:
    built: Obj = {"description": texts[""]} if "" in texts else {}
    built["type"] = "object"
    built["properties"] = {
        name: _build_field(field, prefix, texts.get(name, "")) for name, field in definition.fields.items()
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


def _build_field(field: schema.Field, prefix: str, text: str) -> Obj:
    built: Obj = {"description": text} if text else {}
    built |= _build_type(field.type, prefix)
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
        return _refer(kind.ref, prefix)
    if kind.kind in _NAMED_SCALARS:
        return _refer(_NAMED_SCALARS[kind.kind][0], prefix, default=False)
    if kind.item is not None:
        inner = _build_type(kind.item, prefix)
        if kind.kind == "list":
            return {"type": "array", "items": inner}
        return {"type": "object", "additionalProperties": inner}
    return dict(_SCALARS[kind.kind])


def _refer(name: str, prefix: str, *, default: bool = True) -> Obj:
    """A v3 reference may have nothing beside it, such as a description."""
    reference: Obj = {"$ref": prefix + name}
    if prefix == V2_PREFIX:
        return reference
    return {"allOf": [reference], "default": {}} if default else {"allOf": [reference]}
