"""PATCH: the body's type decides how it is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podhost.api import errors
from podhost.api.patches import apply_json_patch, apply_merge_patch, apply_strategic_merge_patch
from podhost.apiserver import bodies
from podhost.apiserver.applying import APPLY_PATCH
from podhost.apiserver.call import Call

Obj = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


async def read_patch(call: Call) -> Callable[[Obj], Obj]:
    """The patch of a request (but for apply), as a function of the object's present state.

    Raises:
        ApiError: 415 for an unknown type, 400 for a body that is not JSON.
    """
    media = bodies.media_type(call.request)
    if media not in ACCEPTED:
        raise errors.unsupported_media_type(ACCEPTED)
    patch = await bodies.parse_document(await bodies.read_body(call), bodies.JSON)
    if media == JSON_PATCH:
        return lambda current: _applied(apply_json_patch(current, patch))
    if not isinstance(patch, dict):
        raise errors.bad_request("json: cannot unmarshal the patch into Go value of type map[string]interface {}")
    if media == MERGE_PATCH:
        return lambda current: _applied(apply_merge_patch(current, patch))
    return lambda current: _applied(apply_strategic_merge_patch(current, patch, call.kind.schema))


def _applied(document: Any) -> Obj:
    if not isinstance(document, dict):
        raise errors.bad_request("the patched document is not an object")
    return document
