"""Lists: what a request asks for, pages of it, and the tokens that continue them.  Pure."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.field_errors import FieldError, Path
from podhost.apiserver.call import Call

Obj = dict[str, Any]
Place = tuple[str, str]
"""Namespace and name."""

_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"
_MATCH = Path("resourceVersionMatch")
_TOO_OLD_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
_TOO_OLD_LIST = "The resourceVersion for the provided list is too old."


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Which state is asked for, and from where on."""

    limit: int = 0
    """0: all."""
    at_rv: int | None = None
    """``None``: the present state."""
    after: Place | None = None
    """The last object of the page before."""

    def expired(self) -> ApiError:
        """The state asked for is no longer known: with a token that goes on in the present one."""
        if self.after is None:
            return errors.expired(_TOO_OLD_LIST)
        return errors.expired(_TOO_OLD_TOKEN, encode_token(-1, self.after))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    items: Sequence[Obj]
    rv: int
    """Of the state that all pages show: a watch from there misses nothing."""
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


def read_list_request(call: Call, current_rv: int) -> ListRequest:
    """Raises ApiError: 400 and 422 for what cannot be asked, 504 for a state that is not there yet."""
    version, match, token = call.text("resourceVersion"), call.text("resourceVersionMatch"), call.text("continue")
    problems = _validate(version, match, token)
    if "sendInitialEvents" in call.request.query:
        problems.append(Path("sendInitialEvents").forbidden("sendInitialEvents is forbidden for list"))
    if problems:
        raise errors.invalid("ListOptions", "meta.k8s.io", "", problems)
    limit = max(0, call.integer("limit") or 0)
    if token:
        if version and version != "0":
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        rv, after = decode_token(token)
        return ListRequest(limit, None if rv < 0 else rv, after)
    wanted = 0 if not version else read_version(version)
    if wanted > current_rv:
        raise errors.too_large_resource_version(wanted, current_rv)
    exact = match == _EXACT or (not match and wanted > 0 and limit > 0)
    return ListRequest(limit, wanted if exact else None)


def read_version(text: str) -> int:
    """``resourceVersion`` of a read.  Raises ApiError (400)."""
    problem = check_version(text)
    if problem is not None:
        raise errors.bad_request(f"invalid resource version: {problem.message}")
    return int(text)


def check_version(text: str) -> FieldError | None:
    path = Path("resourceVersion")
    if not (text.isascii() and text.isdecimal()):
        return path.invalid(text, f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > 20 or int(text) >= 1 << 64:
        return path.invalid(text, f'strconv.ParseUint: parsing "{text}": value out of range')
    return None


def _validate(version: str, match: str, token: str) -> list[FieldError]:
    problems: list[FieldError] = []
    if not match:
        return problems
    if not version:
        problems.append(_MATCH.forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if token:
        problems.append(_MATCH.forbidden("resourceVersionMatch is forbidden when continue is provided"))
    if match not in (_EXACT, _NOT_OLDER):
        problems.append(_MATCH.not_supported(match, (_EXACT, _NOT_OLDER, "")))
    if match == _EXACT and version == "0":
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        problems.append(_MATCH.forbidden(detail))
    return problems


def validate_watch(match: str, token: str, *, initial_events: bool | None) -> list[FieldError]:
    """Errors of a watch's ``resourceVersionMatch`` and ``sendInitialEvents``."""
    problems = []
    if initial_events is not None and match != _NOT_OLDER:
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        problems.append(_MATCH.forbidden(detail))
    if match:
        if initial_events is None:
            detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            problems.append(_MATCH.forbidden(detail))
        if match != _NOT_OLDER:
            problems.append(_MATCH.not_supported(match, (_NOT_OLDER,)))
        if token:
            problems.append(_MATCH.forbidden("resourceVersionMatch is forbidden when continue is provided"))
    return problems


def paginate(items: Sequence[Obj], rv: int, request: ListRequest, *, counted: bool) -> Page:
    """The page of ``items`` (in the store's order) that is asked for.

    ``counted`` says that the number of the remaining items may be told (no selectors).
    """
    after, limit = request.after, request.limit
    if after is not None:
        items = items[bisect_right(items, after, key=_place) :]
    if limit <= 0 or len(items) <= limit:
        return Page(items, rv)
    last = items[limit - 1]
    remaining = len(items) - limit if counted else None
    return Page(items[:limit], rv, encode_token(rv, _place(last)), remaining)


def _place(item: Obj) -> Place:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str


_TOKEN_VERSION = "meta.k8s.io/v1"


def encode_token(rv: int, after: Place) -> str:
    token = _Token(_TOKEN_VERSION, rv, f"{after[0]}/{after[1]}\0")
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def decode_token(text: str) -> tuple[int, Place]:
    """Raises ApiError (400): the token is not one of ours."""
    try:
        padded = text + "=" * (-len(text) % 4)
        token = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise errors.bad_request(f"continue key is not valid: {error}") from error
    namespace, slash, name = token.start.removesuffix("\0").partition("/")
    if token.v != _TOKEN_VERSION or not slash:
        raise errors.bad_request("continue key is not valid: it is of another version")
    return token.rv, (namespace, name)
