"""Paths inside volumes and containers, and file modes."""

from __future__ import annotations

from typing import Any

from podhost.api.field_errors import FieldError, Path

MODE_ERROR = "must be a number between 0 and 0777 (octal), both inclusive"
_PATH_MAX = 4096


def validate_descending_path(value: str, path: Path) -> list[FieldError]:
    """Relative, and never out of its root."""
    errors = []
    if value.startswith("/"):
        errors.append(path.invalid(value, "must be a relative path"))
    return errors + validate_no_backsteps(value, path)


def validate_no_backsteps(value: str, path: Path) -> list[FieldError]:
    if ".." in value.split("/"):
        return [path.invalid(value, "must not contain '..'")]
    return []


def validate_target_path(value: str, path: Path) -> list[FieldError]:
    """The path of an item of a volume: relative, no ``..``, and not starting with ``..``."""
    errors = validate_descending_path(value, path)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(path.invalid(value, "must not start with '..'"))
    if len(value) > _PATH_MAX:
        errors.append(path.invalid(value, f"must not be longer than {_PATH_MAX} characters"))
    return errors


def validate_mode(mode: Any, path: Path) -> list[FieldError]:
    if mode is not None and not 0 <= mode <= 0o777:
        return [path.invalid(mode, MODE_ERROR)]
    return []
