"""A v2 document in protobuf (``openapi.v2.Document`` of gnostic): the parts that our documents have.

Field numbers are those of gnostic's OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from podhost.wire.protobuf import encode_field

Obj = Mapping[str, Any]

_SCHEMA_TEXTS = {"$ref": 1, "format": 2, "description": 4}


def encode_document(document: Obj) -> bytes:
    """``swagger``, ``info``, ``paths`` (patches), ``definitions``."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = b"".join(_named(2, name, _encode_path(item)) for name, item in document["paths"].items())
    schemas = b"".join(_named(1, name, _encode_schema(item)) for name, item in document["definitions"].items())
    return _text(1, document["swagger"]) + encode_field(2, info) + encode_field(8, paths) + encode_field(9, schemas)


def _encode_path(item: Obj) -> bytes:
    return encode_field(8, _encode_operation(item["patch"]))


def _encode_operation(operation: Obj) -> bytes:
    parameters = b"".join(encode_field(8, _encode_query_parameter(each)) for each in operation["parameters"])
    return _text(5, operation["operationId"]) + parameters + encode_field(9, b"") + _encode_extensions(operation, 13)


def _encode_query_parameter(parameter: Obj) -> bytes:
    query = _text(2, parameter["in"]) + _text(4, parameter["name"]) + _text(6, parameter["type"])
    # ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema
    return encode_field(1, encode_field(2, encode_field(3, query)))


def _encode_schema(schema: Obj) -> bytes:
    encoded = b"".join(_text(number, schema[name]) for name, number in _SCHEMA_TEXTS.items() if schema.get(name))
    encoded += b"".join(_text(19, name) for name in schema.get("required", ()))
    if "additionalProperties" in schema:
        encoded += encode_field(21, encode_field(1, _encode_schema(schema["additionalProperties"])))
    if "type" in schema:
        encoded += encode_field(22, _text(1, schema["type"]))
    if "items" in schema:
        encoded += encode_field(23, encode_field(1, _encode_schema(schema["items"])))
    if "properties" in schema:
        fields = b"".join(_named(1, name, _encode_schema(each)) for name, each in schema["properties"].items())
        encoded += encode_field(25, fields)
    return encoded + _encode_extensions(schema, 31)


def _encode_extensions(owner: Obj, number: int) -> bytes:
    """Vendor extensions: values as YAML, for which JSON will do."""
    return b"".join(
        _named(number, name, _text(2, msgspec.json.encode(value).decode()))
        for name, value in owner.items()
        if name.startswith("x-")
    )


def _named(number: int, name: str, value: bytes) -> bytes:
    return encode_field(number, _text(1, name) + encode_field(2, value))


def _text(number: int, text: str) -> bytes:
    return encode_field(number, text.encode())
