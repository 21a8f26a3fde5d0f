"""PATCH: the body's type decides how it is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.field_errors import Path
from podhost.api.patches import apply_json_patch, apply_merge_patch, apply_strategic_merge_patch
from podhost.api.strategic_merge import show_go_value
from podhost.apiserver import bodies
from podhost.apiserver.applying import APPLY_PATCH
from podhost.apiserver.call import Call

Obj = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch of a request (but for apply)."""

    apply: Callable[[Obj], Obj]
    """A function of the object's present state."""
    show: Callable[[Obj], str]
    """What an error says of the patch, given the patched document."""

    def reject(self, patched: Obj, cause: str) -> ApiError:
        """The patched document cannot be decoded."""
        return errors.invalid("", "", "", [Path("patch").invalid(self.show(patched), cause)])


async def read_patch(call: Call) -> Patch:
    """Raises ApiError: 415 for an unknown type, 400 for a body that is not JSON."""
    media = bodies.media_type(call.request)
    if media not in ACCEPTED:
        raise errors.unsupported_media_type(ACCEPTED)
    patch = await bodies.parse_document(await bodies.read_body(call), bodies.JSON)
    if media == JSON_PATCH:
        return Patch(lambda current: _applied(apply_json_patch(current, patch)), _show_json)
    if not isinstance(patch, dict):
        raise errors.bad_request("json: cannot unmarshal the patch into Go value of type map[string]interface {}")
    if media == MERGE_PATCH:
        return Patch(lambda current: _applied(apply_merge_patch(current, patch)), _show_json)
    schema = call.kind.schema
    return Patch(
        lambda current: _applied(apply_strategic_merge_patch(current, patch, schema)), lambda _: show_go_value(patch)
    )


def _show_json(patched: Obj) -> str:
    return msgspec.json.encode(patched, order="sorted").decode()


def _applied(document: Any) -> Obj:
    if not isinstance(document, dict):
        raise errors.bad_request("the patched document is not an object")
    return document
