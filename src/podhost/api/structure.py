"""Decoding as Go does it: known fields and right types only, nulls dropped, and Go's words for what is wrong.

Kubernetes decodes with ``sigs.k8s.io/json``: the first value of a wrong type fails the request; unknown fields are
collected, and fail it only under strict field validation.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from podhost.api import quantity, time
from podhost.api.objects import Object
from podhost.api.schema import Definition, Type, definition

_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_GO_SCALARS = {"bool": "bool", "string": "string", "bytes": "[]uint8", "float64": "float64"} | {
    name: name for name in _INT_RANGES
}
_GO_NAMED = {
    ("Container", "imagePullPolicy"): "v1.PullPolicy",
    ("Container", "terminationMessagePolicy"): "v1.TerminationMessagePolicy",
    ("Container", "restartPolicy"): "v1.ContainerRestartPolicy",
    ("ContainerPort", "protocol"): "v1.Protocol",
    ("ServicePort", "protocol"): "v1.Protocol",
    ("PodSpec", "restartPolicy"): "v1.RestartPolicy",
    ("PodSpec", "dnsPolicy"): "v1.DNSPolicy",
    ("PodSpec", "preemptionPolicy"): "v1.PreemptionPolicy",
    ("ServiceSpec", "type"): "v1.ServiceType",
    ("ServiceSpec", "sessionAffinity"): "v1.ServiceAffinity",
    ("ServiceSpec", "externalTrafficPolicy"): "v1.ServiceExternalTrafficPolicy",
    ("ServiceSpec", "internalTrafficPolicy"): "v1.ServiceInternalTrafficPolicy",
    ("ServiceSpec", "ipFamilyPolicy"): "v1.IPFamilyPolicy",
    ("EmptyDirVolumeSource", "medium"): "v1.StorageMedium",
    ("HostPathVolumeSource", "type"): "v1.HostPathType",
    ("Secret", "type"): "v1.SecretType",
    ("ObjectMeta", "uid"): "types.UID",
    ("ResourceRequirements", "limits"): "v1.ResourceList",
    ("ResourceRequirements", "requests"): "v1.ResourceList",
}
"""Go types that the official definitions flatten to their base type."""


@dataclass(slots=True)
class StructureResult:
    """A decoded document."""

    document: Object
    """A fresh copy with known fields only, nulls dropped, quantities canonical."""
    type_errors: list[str] = field(default_factory=list)
    """Go's decoding error, at most one: the document is then of no use."""
    unknown_fields: list[str] = field(default_factory=list)
    """``unknown field "spec.foo"``, in the order of the document."""


class _TypeMismatch(Exception):
    """The text of Go's decoding error."""


@dataclass(slots=True)
class _Position:
    """Where in the document: JSON path for unknown fields, names and structure for Go's errors."""

    path: str
    names: str
    owner: Definition
    field: str


def check_structure(document: Any, definition_name: str) -> StructureResult:
    """Decode a JSON document as the definition's Go type.  Never raises on JSON."""
    result = StructureResult({})
    root = definition(definition_name)
    if not isinstance(document, dict):
        if document is not None:
            found = _go_value(document)
            result.type_errors.append(f"json: cannot unmarshal {found} into Go value of type {root.go_type}")
        return result
    try:
        result.document = _decode_struct(document, root, "", "", result.unknown_fields)
    except _TypeMismatch as error:
        result.type_errors.append(str(error))
    return result


def _decode_struct(value: Object, owner: Definition, path: str, names: str, unknown: list[str]) -> Object:
    decoded: Object = {}
    fields = owner.fields
    for key, child in value.items():
        facts = fields.get(key)
        if facts is None:
            unknown.append(f'unknown field "{path}{key}"')
        elif child is not None:
            kind = facts.type.kind
            # The commonest cases first; everything else goes the general way.
            if (kind == "string" and type(child) is str) or (kind == "bool" and type(child) is bool):
                decoded[key] = child
                continue
            position = _Position(path + key, names + key, owner, key)
            new = _decode(child, facts.type, position, unknown)
            if new or kind not in ("list", "map") or facts.required:
                decoded[key] = new
    return decoded


def _decode(value: Any, wanted: Type, at: _Position, unknown: list[str]) -> Any:
    kind = wanted.kind
    if kind == "ref":
        if type(value) is not dict:
            raise _mismatch(value, at, wanted)
        return _decode_struct(value, definition(wanted.ref), at.path + ".", at.names + ".", unknown)
    if kind == "list":
        return _decode_list(value, wanted, at, unknown)
    if kind == "map":
        return _decode_map(value, wanted, at, unknown)
    if kind == "any":
        return value
    return _decode_scalar(value, wanted, at)


def _decode_list(value: Any, wanted: Type, at: _Position, unknown: list[str]) -> list[Any]:
    if type(value) is not list or wanted.item is None:
        raise _mismatch(value, at, wanted)
    decoded = []
    for index, child in enumerate(value):
        if child is None:
            decoded.append(_zero(wanted.item))
        else:
            place = _Position(f"{at.path}[{index}]", at.names, at.owner, at.field)
            decoded.append(_decode(child, wanted.item, place, unknown))
    return decoded


def _decode_map(value: Any, wanted: Type, at: _Position, unknown: list[str]) -> Object:
    if type(value) is not dict or wanted.item is None:
        raise _mismatch(value, at, wanted)
    if wanted.item.kind == "string" and all(type(child) is str for child in value.values()):
        return dict(value)
    return {
        key: _zero(wanted.item)
        if child is None
        else _decode(child, wanted.item, _Position(f"{at.path}.{key}", at.names, at.owner, at.field), unknown)
        for key, child in value.items()
    }


def _decode_scalar(value: Any, wanted: Type, at: _Position) -> Any:
    match wanted.kind:
        case "string" if type(value) is str:
            return value
        case "bool" if type(value) is bool:
            return value
        case "int32" | "int64" if type(value) is int:
            low, high = _INT_RANGES[wanted.kind]
            if low <= value <= high:
                return value
        case "float64" if type(value) in (int, float):
            return value
        case "quantity":
            return _decode_quantity(value)
        case "intorstring":
            return _decode_int_or_string(value)
        case "time" | "microtime":
            return _decode_time(value, wanted.kind)
        case "bytes" if type(value) is str:
            return _decode_bytes(value)
    raise _mismatch(value, at, wanted)


def _decode_quantity(value: Any) -> str:
    if type(value) not in (str, int, float):
        raise _TypeMismatch(quantity.FORMAT_ERROR)
    try:
        return quantity.canonical(value)
    except ValueError as error:
        raise _TypeMismatch(str(error)) from error


def _decode_int_or_string(value: Any) -> str | int:
    if type(value) is str:
        return value
    low, high = _INT_RANGES["int32"]
    if type(value) is int and low <= value <= high:
        return value
    raise _TypeMismatch(f"json: cannot unmarshal {_go_value(value, number=True)} into Go value of type int32")


def _decode_time(value: Any, kind: str) -> str:
    if type(value) is not str:
        raise _TypeMismatch(f"json: cannot unmarshal {_go_value(value)} into Go value of type string")
    try:
        moment = time.parse_time(value)
    except ValueError as error:
        raise _TypeMismatch(str(error)) from error
    return time.format_time(moment) if kind == "time" else time.format_micro_time(moment)


def _decode_bytes(value: str) -> str:
    """Base64, without line breaks from here on."""
    text = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _TypeMismatch(f"illegal base64 data at input byte {_bad_byte(text)}") from error
    return text


_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _bad_byte(text: str) -> int:
    raw = text.encode()
    for index, byte in enumerate(raw):
        if byte not in _ALPHABET:
            return index
    return len(raw)


def _zero(wanted: Type) -> Any:
    """What a ``null`` inside a list or a map becomes."""
    empty: dict[str, Any] = {"ref": {}, "map": {}, "list": [], "bool": False, "any": None, "quantity": "0"}
    if wanted.kind in _INT_RANGES or wanted.kind in ("float64", "intorstring"):
        return 0
    return empty.get(wanted.kind, "")


def _go_value(value: Any, *, number: bool = False) -> str:
    """Go's word for a JSON value; ``number``: with its digits, as when it does not fit."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return f"number {value}" if number else "number"
    return "array" if isinstance(value, list) else "object"


def _go_type(wanted: Type) -> str:
    if wanted.kind == "ref":
        return definition(wanted.ref).go_type
    if wanted.item is not None:
        inner = _go_type(wanted.item)
        return f"[]{inner}" if wanted.kind == "list" else f"map[string]{inner}"
    special = {"quantity": "resource.Quantity", "time": "v1.Time", "intorstring": "intstr.IntOrString"}
    return _GO_SCALARS.get(wanted.kind) or special.get(wanted.kind, wanted.kind)


def _mismatch(value: Any, at: _Position, wanted: Type) -> _TypeMismatch:
    go_type = _GO_NAMED.get((at.owner.short_name, at.field)) if wanted.kind in ("string", "map") else None
    shown = _go_value(value, number=wanted.kind in _INT_RANGES)
    place = f"{at.owner.short_name}.{at.names} of type {go_type or _go_type(wanted)}"
    return _TypeMismatch(f"json: cannot unmarshal {shown} into Go struct field {place}")
