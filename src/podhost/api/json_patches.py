"""JSON patch (RFC 6902) and merge patch (RFC 7386), as pure functions that never touch their arguments."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from podhost.api.field_errors import go_quote
from podhost.errors import InvalidError

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 << 20
"""As much as a request may have: copies of copies double the document with each operation."""


class PatchTooLargeError(InvalidError):
    """A patch of more operations than are allowed (413)."""


class PatchError(InvalidError):
    """A patch that does not apply.  ``unprocessable``: well-formed, but a test failed or a path is missing (422)."""

    def __init__(self, message: str, *, unprocessable: bool = False) -> None:
        super().__init__(message)
        self.unprocessable = unprocessable


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, ``null`` deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply_merge_patch(merged.get(key), value)
    return merged


def compute_merge_patch(old: Any, new: Any) -> Any:
    """The merge patch that leads from one JSON object to another (which holds no ``null``)."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy.deepcopy(new)
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = copy.deepcopy(value)
        elif old[key] != value or type(old[key]) is not type(value):
            both = isinstance(old[key], dict) and isinstance(value, dict)
            patch[key] = compute_merge_patch(old[key], value) if both else copy.deepcopy(value)
    return patch


def apply_json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902.

    Raises:
        PatchError: The patch is malformed, does not apply, or a ``test`` failed.
        PatchTooLargeError: It has too many operations.
    """
    if not isinstance(operations, list):
        raise PatchError("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        limit = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise PatchTooLargeError(limit)
    root = [copy.deepcopy(document)]
    copied_bytes = 0
    for operation in operations:
        copied_bytes += _apply_operation(root, operation, MAX_COPIED_BYTES - copied_bytes)
    return root[0]


def _apply_operation(root: list[Any], operation: Any, may_copy_bytes: int) -> int:
    """``root`` holds the document as its only item, so that the whole document can be replaced.

    Returns how many bytes were copied within the document.
    """
    if not isinstance(operation, dict):
        raise PatchError("json: cannot unmarshal JSON patch operation")
    name, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchError("missing or invalid path in JSON patch operation", unprocessable=True)
    steps = _parse_pointer(path)
    match name:
        case "add":
            _add(root, steps, _value(operation), path)
        case "remove":
            _remove(root, steps, path)
        case "replace":
            _replace(root, steps, _value(operation), path)
        case "test":
            if not _equal(_get(root, steps, path, missing=None), operation.get("value")):
                raise PatchError(f"testing value {path} failed", unprocessable=True)
        case "copy" | "move":
            return _transfer(root, operation, steps, path, may_copy_bytes)
        case _:
            raise PatchError(f"Unexpected kind: {name}", unprocessable=True)
    return 0


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError("missing value in JSON patch operation", unprocessable=True)
    return copy.deepcopy(operation["value"])


def _transfer(root: list[Any], operation: dict[str, Any], steps: list[str], path: str, may_copy_bytes: int) -> int:
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchError("missing or invalid from in JSON patch operation", unprocessable=True)
    moving = operation["op"] == "move"
    if moving and path.startswith(source + "/"):
        raise PatchError(f"cannot move {go_quote(source)} into itself", unprocessable=True)
    origin = _parse_pointer(source)
    value, size = _get(root, origin, source), 0
    if moving:
        _remove(root, origin, source)
    else:
        size = len(msgspec.json.encode(value))
        if size > may_copy_bytes:
            total = MAX_COPIED_BYTES - may_copy_bytes + size
            raise PatchError(
                f"Unable to complete the copy, the accumulated size increase of copy is {total}, "
                f"exceeding the limit {MAX_COPIED_BYTES}",
                unprocessable=True,
            )
        value = copy.deepcopy(value)
    _add(root, steps, value, path)
    return size


def _parse_pointer(pointer: str) -> list[str]:
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise PatchError(f"invalid JSON pointer {go_quote(pointer)}", unprocessable=True)
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _missing(path: str) -> PatchError:
    return PatchError(f"doc is missing path: {path}: missing value", unprocessable=True)


def _index(step: str, length: int, path: str) -> int:
    if not (step.isascii() and step.isdigit()) or (len(step) > 1 and step[0] == "0") or len(step) > 9:
        raise PatchError(f"invalid array index {go_quote(step)} in {path}", unprocessable=True)
    index = int(step)
    if index >= length:
        raise PatchError(f"invalid index referenced: {path}", unprocessable=True)
    return index


_ABSENT = object()


def _get(root: list[Any], steps: list[str], path: str, missing: Any = _ABSENT) -> Any:
    """The value at a path.  ``missing`` stands in for an absent member (``test`` against null)."""
    value: Any = root[0]
    for position, step in enumerate(steps):
        if isinstance(value, dict):
            if step not in value:
                if missing is _ABSENT or position + 1 < len(steps):
                    raise _missing(path)
                return missing
            value = value[step]
        elif isinstance(value, list):
            value = value[_index(step, len(value), path)]
        else:
            raise _missing(path)
    return value


def _parent(root: list[Any], steps: list[str], path: str) -> Any:
    return _get(root, steps[:-1], path)


def _add(root: list[Any], steps: list[str], value: Any, path: str) -> None:
    if not steps:
        root[0] = value
        return
    parent, last = _parent(root, steps, path), steps[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1, path), value)
    else:
        raise _missing(path)


def _remove(root: list[Any], steps: list[str], path: str) -> None:
    if not steps:
        raise PatchError("cannot remove the whole document", unprocessable=True)
    parent, last = _parent(root, steps, path), steps[-1]
    if isinstance(parent, dict):
        if last not in parent:
            raise PatchError(f"unable to remove nonexistent key: {last}: missing value", unprocessable=True)
        del parent[last]
    elif isinstance(parent, list):
        del parent[_index(last, len(parent), path)]
    else:
        raise _missing(path)


def _replace(root: list[Any], steps: list[str], value: Any, path: str) -> None:
    if not steps:
        root[0] = value
        return
    parent, last = _parent(root, steps, path), steps[-1]
    if isinstance(parent, dict):
        if last not in parent:
            detail = f"replace operation does not apply: doc is missing key: {path}: missing value"
            raise PatchError(detail, unprocessable=True)
        parent[last] = value
    elif isinstance(parent, list):
        parent[_index(last, len(parent), path)] = value
    else:
        raise _missing(path)


def _equal(one: Any, other: Any) -> bool:
    """JSON equality: ``true`` is not ``1``, but ``1`` is ``1.0``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
