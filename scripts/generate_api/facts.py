"""The facts table: what structural checks, patches and apply need to know about each field."""

from __future__ import annotations

from typing import Any

from definitions import DOCUMENTS_ONLY, ROOTS, SCALARS, Definition, json_type, reachable, reference

_SCALAR_WORDS = {
    ("integer", "int32"): "int32",
    ("integer", "int64"): "int64",
    ("integer", None): "int64",
    ("number", "double"): "float64",
    ("number", None): "float64",
    ("string", "byte"): "bytes",
    ("string", None): "string",
    ("boolean", None): "bool",
}


def build_type(schema: Definition) -> Any:
    """A type as data: ``"string"``, ``{"ref": name}``, ``{"list": type}`` or ``{"map": type}``."""
    name = reference(schema)
    if name is not None:
        return SCALARS.get(name) or {"ref": name}
    kind = json_type(schema)
    if kind == "array":
        return {"list": build_type(schema["items"])}
    if kind == "object":
        extra = schema.get("additionalProperties")
        return {"map": build_type(extra)} if isinstance(extra, dict) else "any"
    return _SCALAR_WORDS[(kind, schema.get("format"))]


def build_field(schema: Definition) -> dict[str, Any]:
    """The facts of one field.  Absent keys mean: nothing special."""
    facts: dict[str, Any] = {"type": build_type(schema)}
    for source, target in (
        ("x-kubernetes-patch-strategy", "patchStrategy"),
        ("x-kubernetes-patch-merge-key", "patchMergeKey"),
        ("x-kubernetes-list-type", "listType"),
        ("x-kubernetes-list-map-keys", "listMapKeys"),
        ("x-kubernetes-map-type", "mapType"),
    ):
        if source in schema:
            facts[target] = schema[source]
    return facts


def build_definition(definition: Definition) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "fields": {name: build_field(schema) for name, schema in definition.get("properties", {}).items()}
    }
    if definition.get("required"):
        facts["required"] = definition["required"]
    if definition.get("x-kubernetes-map-type"):
        facts["mapType"] = definition["x-kubernetes-map-type"]
    kinds = definition.get("x-kubernetes-group-version-kind", ())
    if len(kinds) == 1:
        facts["gvk"] = [kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]]
    return facts


def build_facts(definitions: dict[str, Definition]) -> dict[str, Any]:
    """The whole table, by full definition name, sorted so that a new version reads well in a diff."""
    served = reachable(definitions, ROOTS + DOCUMENTS_ONLY)
    return {name: build_definition(definitions[name]) for name in sorted(served)}
