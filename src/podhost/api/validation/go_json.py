"""What Go says of a text that should be a JSON object (``encoding/json``)."""

from __future__ import annotations

import json
from typing import Any

_KINDS = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_PLACES = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}
_TOO_DEEP = "exceeded max depth"


def find_object_fault(data: bytes) -> str:
    """Empty: it is an object, or null."""
    text = data.decode(errors="replace")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return _describe(text, error)
    except RecursionError:
        return _TOO_DEEP
    if value is None or isinstance(value, dict):
        return ""
    return f"json: cannot unmarshal {_KINDS[type(value)]} into Go value of type map[string]interface {{}}"


def _describe(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    char = text[error.pos]
    shown = {"'": r"'\''", '"': "'\"'"}.get(char, f"'{char}'")
    if error.msg == "Expecting ',' delimiter":
        inside = "array element" if _innermost(text[: error.pos]) == "[" else "object key:value pair"
        return f"invalid character {shown} after {inside}"
    return f"invalid character {shown} {_PLACES.get(error.msg, 'looking for beginning of value')}"


def _innermost(text: str) -> str:
    """The bracket that is open at the end of a valid beginning."""
    stack: list[Any] = []
    quoted = escaped = False
    for char in text:
        if quoted:
            quoted, escaped = escaped or char != '"', not escaped and char == "\\"
        elif char == '"':
            quoted = True
        elif char in "[{":
            stack.append(char)
        elif char in "]}":
            stack.pop()
    return stack[-1] if stack else ""
