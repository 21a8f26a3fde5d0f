"""Bodies in Kubernetes' protobuf encoding, as JSON documents.  Decoding only: answers are always JSON.

kubectl's own ``create namespace`` and the like, and Go programs with typed clients, send nothing else.
The envelope is ``k8s\\0`` and a ``runtime.Unknown``; the messages' fields are in generated facts.
Zero values are left out as Go's ``omitempty`` does it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from podhost.api import errors
from podhost.api.time import format_micro_time, format_time

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_NS_PER_S = 1_000_000_000
_MAX_DEPTH = 64
_META = "k8s.io/apimachinery/pkg/apis/meta/v1"
_META_KINDS = frozenset({"DeleteOptions"})

Obj = dict[str, Any]
Value = int | bytes
_Field = tuple[str, Any, str]
"""JSON name (empty: the message's fields are the parent's own), type, ``optional`` / ``zero`` / nothing."""


class _Malformed(ValueError):
    """Not the encoding of such a message."""


def decode_body(body: bytes) -> Obj:
    """The object in a request body, with ``apiVersion`` and ``kind``.

    Raises:
        ApiError: 400 for a body that cannot be decoded or is of a kind without facts.
    """
    if not body.startswith(_MAGIC):
        raise errors.bad_request("provided data does not appear to be a protobuf message, expected prefix k8s\\0")
    try:
        envelope = dict(_read_fields(body[len(_MAGIC) :]))
        type_meta = {number: _text(value) for number, value in _read_fields(_bytes(envelope.get(1, b"")))}
        version, kind = type_meta.get(1, ""), type_meta.get(2, "")
        message = _message_name(version, kind)
        document = _decode_message(_bytes(envelope.get(2, b"")), message, 0)
    except (ValueError, KeyError) as error:
        raise errors.bad_request(f"cannot decode the protobuf body: {error}") from error
    return document | {"apiVersion": version, "kind": kind}


@cache
def _facts() -> Mapping[str, Mapping[int, _Field]]:
    raw = json.loads((files("podhost.apiserver") / "protobuf_facts.json").read_bytes())
    return {
        name: {int(number): (field[0], field[1], field[2]) for number, field in message.items()}
        for name, message in raw.items()
    }


def _message_name(version: str, kind: str) -> str:
    group, _, number = version.rpartition("/")
    # The package of a group is named by the group's first word.
    package = f"k8s.io/api/{group.partition('.')[0] or 'core'}/{number}"
    name = f"{_META}.{kind}" if kind in _META_KINDS else f"{package}.{kind}"
    if name not in _facts():
        raise errors.no_kind_match(kind, version)
    return name


def _read_fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """(field number, integer or bytes) in the order of the message."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _read_varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _read_varint(data, at)
            if at + length > len(data):
                raise _Malformed(f"field {number} is longer than its message")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4  # no Kubernetes type in the facts has fixed-width fields
        else:
            raise _Malformed(f"field {number} has wire type {wire}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Malformed("the message ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed("a number has more than ten bytes")


def _decode_message(data: bytes, name: str, depth: int) -> Obj:
    if depth > _MAX_DEPTH:
        raise _Malformed("the message is nested too deeply")
    fields = _facts()[name]
    document: Obj = {}
    for number, value in _read_fields(data):
        if number not in fields:
            continue
        json_name, kind, presence = fields[number]
        if not json_name:
            document |= _decode_message(_bytes(value), kind["ref"], depth + 1)
        elif isinstance(kind, dict) and "list" in kind:
            document.setdefault(json_name, []).extend(_decode_elements(value, kind["list"], depth))
        elif isinstance(kind, dict) and "map" in kind:
            document.setdefault(json_name, {}).update(_decode_entry(_bytes(value), kind["map"], depth))
        else:
            decoded = _decode_value(value, kind, depth)
            if presence or (decoded not in ("", 0, None) and decoded is not False):
                document[json_name] = decoded
    return document


def _decode_elements(value: Value, kind: Any, depth: int) -> list[Any]:
    if kind in ("int", "bool") and isinstance(value, bytes):
        numbers, at = [], 0
        while at < len(value):  # packed
            number, at = _read_varint(value, at)
            numbers.append(_decode_value(number, kind, depth))
        return numbers
    return [_decode_value(value, kind, depth)]


def _decode_entry(data: bytes, kind: Any, depth: int) -> Obj:
    entry = dict(_read_fields(data))
    empty: Value = 0 if kind in ("int", "bool") else b""
    return {_text(entry.get(1, b"")): _decode_value(entry.get(2, empty), kind, depth)}


def _decode_value(value: Value, kind: Any, depth: int) -> Any:
    if isinstance(kind, dict):
        if "ref" in kind:
            return _decode_message(_bytes(value), kind["ref"], depth + 1)
        raise _Malformed("a list of lists")
    match kind:
        case "string":
            return _text(value)
        case "int":
            return _signed(value)
        case "bool":
            return _signed(value) != 0
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
    fields = dict(_read_fields(_bytes(value)))
    match kind:
        case "time" | "microtime":
            return _decode_time(fields, kind)
        case "quantity":
            return _text(fields.get(1, b"0"))
        case "intorstring":
            return _text(fields.get(3, b"")) if fields.get(1) else _signed(fields.get(2, 0))
        case _:  # FieldsV1: JSON as it is
            return json.loads(_bytes(fields.get(1, b"{}")) or b"{}")


def _decode_time(fields: Mapping[int, Value], kind: str) -> str | None:
    if not fields:
        return None
    moment_ns = _signed(fields.get(1, 0)) * _NS_PER_S + _signed(fields.get(2, 0))
    return format_time(moment_ns) if kind == "time" else format_micro_time(moment_ns)


def _signed(value: Value) -> int:
    if isinstance(value, bytes):
        raise _Malformed("a number was expected")
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise _Malformed("bytes were expected")
    return value


def _text(value: Value) -> str:
    return _bytes(value).decode()
