"""Validation errors as Kubernetes words them (``k8s.io/apimachinery/pkg/util/validation/field``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class ErrorType(Enum):
    """Machine-readable cause (``value``) and the words in front of the message (``text``)."""

    NOT_FOUND = "FieldValueNotFound"
    REQUIRED = "FieldValueRequired"
    DUPLICATE = "FieldValueDuplicate"
    INVALID = "FieldValueInvalid"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    INTERNAL = "InternalError"


_TEXTS = {
    ErrorType.NOT_FOUND: "Not found",
    ErrorType.REQUIRED: "Required value",
    ErrorType.DUPLICATE: "Duplicate value",
    ErrorType.INVALID: "Invalid value",
    ErrorType.NOT_SUPPORTED: "Unsupported value",
    ErrorType.FORBIDDEN: "Forbidden",
    ErrorType.TOO_LONG: "Too long",
    ErrorType.TOO_MANY: "Too many",
    ErrorType.INTERNAL: "Internal error",
}
_WITHOUT_VALUE = frozenset({ErrorType.REQUIRED, ErrorType.FORBIDDEN, ErrorType.TOO_LONG, ErrorType.INTERNAL})


def go_quote(text: str) -> str:
    """A string as Go's ``%q`` prints it (near enough: JSON without escaping of printable characters)."""
    return json.dumps(text, ensure_ascii=False)


def _format_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field."""

    type: ErrorType
    field: str
    value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """The message without the field, as in ``details.causes[].message`` of a Status."""
        text = _TEXTS[self.type]
        if self.type not in _WITHOUT_VALUE:
            text = f"{text}: {_format_value(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    @property
    def message(self) -> str:
        """``spec.containers[0].name: Required value``."""
        return f"{self.field}: {self.body}"


@dataclass(frozen=True, slots=True)
class Path:
    """Path of a field.  Rendered only when something is wrong with it: building one is cheap."""

    name: str = ""
    parent: Path | None = None

    def child(self, *names: str) -> Path:
        path = self
        for name in names:
            path = Path("." + name if path.name or path.parent else name, path)
        return path

    def index(self, number: int) -> Path:
        return Path(f"[{number}]", self)

    def key(self, key: str) -> Path:
        return Path(f"[{key}]", self)

    def __str__(self) -> str:
        parts = []
        path: Path | None = self
        while path is not None:
            parts.append(path.name)
            path = path.parent
        return "".join(reversed(parts))

    def required(self, detail: str = "") -> FieldError:
        return FieldError(ErrorType.REQUIRED, str(self), "", detail)

    def invalid(self, value: Any, detail: str) -> FieldError:
        return FieldError(ErrorType.INVALID, str(self), value, detail)

    def duplicate(self, value: Any) -> FieldError:
        return FieldError(ErrorType.DUPLICATE, str(self), value)

    def forbidden(self, detail: str) -> FieldError:
        return FieldError(ErrorType.FORBIDDEN, str(self), "", detail)

    def not_found(self, value: Any) -> FieldError:
        return FieldError(ErrorType.NOT_FOUND, str(self), value)

    def not_supported(self, value: Any, supported: Iterable[str]) -> FieldError:
        """Sets of supported values are shown sorted, lists as they are."""
        words = sorted(supported) if isinstance(supported, set | frozenset) else supported
        listed = ", ".join(go_quote(word) for word in words)
        return FieldError(ErrorType.NOT_SUPPORTED, str(self), value, f"supported values: {listed}" if listed else "")

    def too_long(self, max_bytes: int) -> FieldError:
        return FieldError(ErrorType.TOO_LONG, str(self), "", f"may not be more than {max_bytes} bytes")

    def too_many(self, actual: int, maximum: int) -> FieldError:
        unit = "item" if maximum == 1 else "items"
        return FieldError(ErrorType.TOO_MANY, str(self), actual, f"must have at most {maximum} {unit}")

    def internal(self, detail: str) -> FieldError:
        return FieldError(ErrorType.INTERNAL, str(self), None, detail)


def aggregate(messages: Sequence[str]) -> str:
    """Several messages as one, as Go's ``Aggregate.Error`` prints them: duplicates once, brackets if many."""
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
