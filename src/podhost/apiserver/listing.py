"""Lists in pages, and the tokens that continue them.  Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from podhost.api import errors

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: Sequence[Obj]
    rv: int
    """Of the first page: a watch from there misses nothing that changed between the pages."""
    continue_token: str = ""
    remaining: int | None = None

    @property
    def metadata(self) -> Obj:
        metadata: Obj = {"resourceVersion": str(self.rv)}
        if self.continue_token:
            metadata["continue"] = self.continue_token
            if self.remaining is not None:
                metadata["remainingItemCount"] = self.remaining
        return metadata


class _Token(msgspec.Struct, array_like=True):
    rv: int
    namespace: str
    name: str


def paginate(items: Sequence[Obj], rv: int, *, limit: int, token: str, counted: bool) -> Page:
    """The page of ``items`` (in the store's order) after ``token``; ``limit`` 0 means all.

    ``counted`` says that the number of the remaining items may be told (no selectors).

    Raises:
        ApiError: The token is not one of ours.
    """
    if token:
        start = _decode_token(token)
        rv = start.rv
        after = (start.namespace, start.name)
        items = [item for item in items if _place(item) > after]
    if limit <= 0 or len(items) <= limit:
        return Page(items, rv)
    last = items[limit - 1]
    remaining = len(items) - limit if counted else None
    return Page(items[:limit], rv, _encode_token(_Token(rv, *_place(last))), remaining)


def _place(item: Obj) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _encode_token(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _decode_token(text: str) -> _Token:
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise errors.bad_request("continue key is not valid: " + str(error)) from error
