"""Responses: JSON or YAML, compressed when large, with Kubernetes' headers."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import yaml
from aiohttp import web

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.patches import PatchError, PatchTooLargeError
from podhost.apiserver.call import Call
from podhost.apiserver.connections import UNIX_PEER, name_peer
from podhost.cri.images import ImagePullError
from podhost.errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    ExistsError,
    InvalidError,
    NotFoundError,
    PodhostError,
    UnavailableError,
)
from podhost.store import GoneError

_log = logging.getLogger(__name__)
_HUMAN_TOOLS = ("curl", "Wget", "Mozilla/5.0")
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_HEADERS = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
_PIECE_BYTES = 64 << 10
_MAX_WARNINGS_CHARS = 4096
"""Of all warnings together, as in kube-apiserver: clients refuse answers with too many or too long headers."""
_MAX_CROWDED_CHARS = 256
_MAX_WARNINGS = 60

_STATUS_OF_KIND: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFoundError, 404, "NotFound"),
    (ExistsError, 409, "AlreadyExists"),
    (ConflictError, 409, "Conflict"),
    (InvalidError, 400, "BadRequest"),
    (GoneError, 410, "Expired"),
    (DeniedError, 403, "Forbidden"),
    (ExhaustedError, 507, "InsufficientStorage"),
    (UnavailableError, 503, "ServiceUnavailable"),
    (ImagePullError, 503, "ServiceUnavailable"),
)
"""The one table that maps internal kinds of failure to the API's."""


def to_api_error(error: BaseException) -> ApiError:
    """The Status of any failure; unexpected ones are logged and become ``InternalError``."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, web.HTTPException):
        return _of_http(error)
    if isinstance(error, PatchError) and error.unprocessable:
        return errors.patch_rejected(str(error))
    if isinstance(error, PatchTooLargeError):
        return errors.too_large(str(error))
    if isinstance(error, RecursionError):
        return errors.bad_request("the document is nested too deeply")
    for kind, code, reason in _STATUS_OF_KIND:
        if isinstance(error, kind):
            return ApiError(code, reason, str(error))
    if not isinstance(error, PodhostError):
        _log.error("a request failed unexpectedly", exc_info=error)
    return errors.internal_error(str(error) or type(error).__name__)


def answer_error(error: ApiError) -> web.Response:
    response = answer_json(error.status, code=error.code)
    retry_s = (error.details or {}).get("retryAfterSeconds")
    if retry_s:
        response.headers["Retry-After"] = str(retry_s)
    return response


def answer_json(document: Any, *, code: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(document), status=code, headers={"Content-Type": content_type})


async def answer(
    call: Call, document: Any, *, code: int = 200, as_yaml: bool = False, gzip_above_bytes: int = 128 << 10
) -> web.Response:
    """The document in the negotiated encoding."""
    if as_yaml:
        body = await asyncio.to_thread(_to_yaml, document)
    else:
        body = msgspec.json.encode(document)
        if wants_indentation(call):
            body = msgspec.json.format(body, indent=2)
    response = web.Response(status=code)
    response.headers["Content-Type"] = "application/yaml" if as_yaml else "application/json"
    response.headers["Cache-Control"] = "no-cache, private"
    if len(body) > gzip_above_bytes and wants_gzip(call.request):
        body = await asyncio.to_thread(_gzip, body)
        response.headers.update(_GZIP_HEADERS)
    response.body = body
    add_warnings(response, call.warnings)
    return response


class StreamedList(web.StreamResponse):
    """A long list, encoded while it is sent: it is nowhere as a whole, and others get their turn."""

    def __init__(self, document: Any, items: Iterator[bytes], *, compressed: bool) -> None:
        """``document`` is the list without its items, the JSON of which comes one by one."""
        super().__init__(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
        if compressed:
            self.headers.update(_GZIP_HEADERS)
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, _GZIP) if compressed else None
        self._head = msgspec.json.encode(document).removesuffix(b"]}")
        self._items = items

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it all.  A second time there is nothing left to send."""
        items, self._items = self._items, iter(())
        if head := self._head:
            self._head = b""
            for piece in _join(head, items):
                await self._write_piece(piece)
                await asyncio.sleep(0)
            if self._compressor is not None:
                await self.write(self._compressor.flush())
        await super().write_eof(data)

    async def _write_piece(self, piece: bytes) -> None:
        compressed = piece if self._compressor is None else self._compressor.compress(piece)
        if compressed:
            await self.write(compressed)


def _join(head: bytes, items: Iterator[bytes]) -> Iterator[bytes]:
    """The list's JSON in pieces of some size."""
    piece, separator = bytearray(head), b""
    for item in items:
        piece += separator
        piece += item
        separator = b","
        if len(piece) > _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]}")


def wants_gzip(request: web.Request) -> bool:
    """Asked for, and worth its time: a client on this machine has the bytes sooner as they are."""
    return "gzip" in request.headers.get("Accept-Encoding", "") and not _is_near(request)


def _is_near(request: web.Request) -> bool:
    peer = "" if request.transport is None else name_peer(request.transport)
    return peer == UNIX_PEER or peer.startswith("127.") or peer == "::1"


def wants_indentation(call: Call) -> bool:
    """``?pretty``, or a tool with which people look at an API."""
    asked = call.optional_flag("pretty")
    if asked is not None:
        return asked
    return call.request.headers.get("User-Agent", "").startswith(_HUMAN_TOOLS)


def add_warnings(response: web.StreamResponse, warnings: Iterable[str]) -> None:
    """``Warning: 299 - "text"``, each text once; too many are cut short, then left out."""
    texts = list(dict.fromkeys(warnings))[:_MAX_WARNINGS]
    if sum(map(len, texts)) > _MAX_WARNINGS_CHARS:
        texts = [text[:_MAX_CROWDED_CHARS] for text in texts]
    left = _MAX_WARNINGS_CHARS
    for text in texts:
        left -= len(text)
        if left < 0:
            break
        response.headers.add("Warning", format_warning(text))


def format_warning(text: str) -> str:
    """A header's value; line breaks and control characters cannot be in one."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    quoted = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def _of_http(error: web.HTTPException) -> ApiError:
    if error.status == 413:
        return errors.too_large(error.text or "")
    return ApiError(error.status, "BadRequest" if error.status < 500 else "InternalError", error.text or error.reason)


def _gzip(body: bytes) -> bytes:
    # Level 1: the client is on this machine, or near; time is worth more than bytes.
    compressor = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return compressor.compress(body) + compressor.flush()


def _to_yaml(document: Any) -> bytes:
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=True, encoding="utf-8", allow_unicode=True)
