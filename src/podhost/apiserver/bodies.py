"""Request bodies: JSON or YAML, bounded, decoded against the schema, with Kubernetes' field validation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import yaml
from aiohttp import web

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.kind import Kind
from podhost.api.kinds import kind_of
from podhost.api.strict import find_strict_problems, has_duplicates
from podhost.api.structure import check_structure
from podhost.apiserver import protobuf
from podhost.apiserver.call import Call
from podhost.apiserver.write_options import FieldValidation
from podhost.apiserver.yaml_duplicates import find_duplicate_keys
from podhost.apiserver.yaml_limits import check_yaml_limits
from podhost.apiserver.yaml_loader import JsonLoader

Obj = dict[str, Any]

JSON = "application/json"
YAML = "application/yaml"
_YAML_TYPES = (YAML, "application/x-yaml", "text/yaml")
_ACCEPTED = (JSON, YAML, protobuf.MEDIA_TYPE)
_THREAD_ABOVE_BYTES = 32 << 10
_SPACE = 64
"""Where an object in JSON has begun, most likely."""


def media_type(request: web.Request) -> str:
    """Type of the body without parameters; JSON when the client does not say."""
    return request.headers.get("Content-Type", JSON).partition(";")[0].strip().lower()


async def read_body(call: Call) -> bytes:
    """Raises ApiError: 413 for more than the server takes, 504 when it does not come in time."""
    limit_bytes = call.request.client_max_size
    if (call.request.content_length or 0) > limit_bytes:
        raise errors.too_large(f"limit is {limit_bytes}")  # before any of it has come
    try:
        async with asyncio.timeout(call.body_timeout_s):
            return await call.request.read()
    except TimeoutError as error:
        raise errors.timeout("request did not complete within the allotted timeout") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.too_large(f"limit is {limit_bytes}") from error


async def read_document(call: Call) -> Obj:
    """The body as JSON object; empty when there is none.  Raises ApiError (400, 413, 415)."""
    body = await read_body(call)
    if not body:
        return {}
    document = await parse_document(body, media_type(call.request))
    if not isinstance(document, dict):
        raise errors.bad_request("the object provided is unrecognized: it is not an object")
    return document


async def parse_document(body: bytes, media: str) -> Any:
    """Raises ApiError (400, 415)."""
    if media == JSON:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.bad_request(f"the body is not JSON: {error}") from error
    if media in _YAML_TYPES:
        return await parse_yaml(body)
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode_body(body)
    raise errors.unsupported_media_type(_ACCEPTED)


async def parse_yaml(body: bytes) -> Any:
    """YAML as JSON values.  Raises ApiError (400)."""
    document = _try_json(body)
    if document is not None:
        return document
    if len(body) > _THREAD_ABOVE_BYTES:
        return await asyncio.to_thread(_parse_yaml, body)
    return _parse_yaml(body)


def _try_json(body: bytes) -> Any:
    """What clients send as YAML is mostly JSON, which is read a hundred times faster; ``None``: this is not."""
    if not body[:_SPACE].lstrip().startswith(b"{"):
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def read_yaml_duplicates(call: Call) -> list[str]:
    """Those of the body; of a large one without keeping other requests waiting."""
    body = await read_body(call)
    if len(body) > _THREAD_ABOVE_BYTES:
        return await asyncio.to_thread(find_yaml_duplicates, body)
    return find_yaml_duplicates(body)


def find_yaml_duplicates(body: bytes) -> list[str]:
    """See :func:`podhost.apiserver.yaml_duplicates.find_duplicate_keys`."""
    if _try_json(body) is not None and not has_duplicates(body):
        return []
    return find_duplicate_keys(body)


async def read_object(call: Call, kind: Kind, validation: FieldValidation) -> Obj:
    """A new or replaced object: known fields only; warnings for the others go to the call.

    Raises:
        ApiError: It cannot be understood, is of another kind, or has unknown fields under ``Strict``.
    """
    document = await read_document(call)
    if not await read_body(call):
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            "json parse error: unexpected end of JSON input"
        )
    problems = None if validation == "Ignore" else await _find_duplicates(call, document, kind)
    return decode_object(call, document, kind, validation, problems=problems)


def decode_object(
    call: Call,
    document: Obj,
    kind: Kind,
    validation: FieldValidation,
    *,
    problems: list[str] | None = None,
    reject: Callable[[str], ApiError] | None = None,
) -> Obj:
    """Check a document against its kind.

    ``problems`` are those of strict decoding when they are known already, ``reject`` makes the error of a document
    that cannot be decoded.  Raises ApiError (400, or what ``reject`` makes).
    """
    check_kind(document, kind)
    reject = reject or (lambda cause: errors.cannot_be_handled(kind.kind, kind.group_version, cause))
    result = check_structure(document, kind.schema)
    if result.type_errors:
        raise reject(", ".join(result.type_errors))
    found = [*dict.fromkeys(result.unknown_fields if problems is None else problems)]
    if found and validation == "Strict":
        raise reject(errors.strict_decoding_error(found))
    if validation == "Warn":
        call.warnings.extend(found)
    obj = result.document
    obj["apiVersion"], obj["kind"] = kind.group_version, kind.kind
    obj.setdefault("metadata", {})
    return obj


async def _find_duplicates(call: Call, document: Obj, kind: Kind) -> list[str] | None:
    """All problems of strict decoding when keys are there twice; ``None`` when none is."""
    media = media_type(call.request)
    if media == JSON:
        body = await read_body(call)
        return find_strict_problems(body, kind.schema) if has_duplicates(body) else None
    if media not in _YAML_TYPES:
        return None
    duplicates = await read_yaml_duplicates(call)
    if not duplicates:
        return None
    return [*duplicates, *check_structure(document, kind.schema).unknown_fields]


def check_kind(document: Obj, kind: Kind) -> None:
    """A body without ``apiVersion`` and ``kind`` is taken for what the URL says.  Raises ApiError (400)."""
    version, name = document.get("apiVersion") or kind.group_version, document.get("kind") or kind.kind
    if (version, name) == (kind.group_version, kind.kind):
        return
    if kind_of({"apiVersion": version, "kind": name}) is None:
        raise errors.no_kind_match(str(name), str(version))
    if name == kind.kind:
        raise errors.bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.group_version})"
        )
    raise errors.bad_request(
        f'{name} in version "{version}" cannot be handled as a {kind.kind}: the object is of another kind'
    )


def _parse_yaml(body: bytes) -> Any:
    try:
        check_yaml_limits(body)
        return yaml.load(body, Loader=JsonLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise errors.bad_request(f"the body is not YAML: {error}") from error
