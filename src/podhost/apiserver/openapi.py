"""OpenAPI documents, made from the facts table and the kinds.

Enough for clients to know types, patch keys, descriptions and which parameters a request takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec

from podhost.api.descriptions import load_descriptions
from podhost.api.kind import Kind
from podhost.api.kinds import KINDS
from podhost.api.pod_channels import POD_CHANNELS
from podhost.api.review_kinds import UNSTORED_KINDS
from podhost.api.usage_kinds import USAGE_KINDS
from podhost.apiserver.discovery import group_versions
from podhost.apiserver.openapi_own import OWN_DESCRIPTIONS
from podhost.apiserver.openapi_paths import build_paths, build_v2_paths, find_schemas, list_schema_name
from podhost.apiserver.openapi_protobuf import encode_document
from podhost.apiserver.openapi_schemas import LIST_META, V2_PREFIX, V3_PREFIX, build_list_schema, build_schemas

Obj = dict[str, Any]

_KINDS = (*KINDS, *UNSTORED_KINDS, *USAGE_KINDS, POD_CHANNELS)


def build_paths_document(hashes: Mapping[str, str]) -> bytes:
    """``/openapi/v3``: where the documents are.  The hash of each lets clients keep it."""
    paths = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path, digest in hashes.items()}
    return msgspec.json.encode({"paths": paths})


def document_paths() -> list[str]:
    """``api/v1``, ``apis/discovery.k8s.io/v1`` and so on."""
    return list(_documents())


def group_document(path: str) -> bytes | None:
    """``/openapi/v3/<path>``, such as ``api/v1``; ``None`` for an unknown one."""
    kinds = _documents().get(path)
    if kinds is None:
        return None
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.37.1+podhost"},
            "paths": build_paths(kinds),
            "components": {"schemas": _build_schemas(kinds, V3_PREFIX)},
        }
    )


def v2_document() -> Obj:
    """``/openapi/v2``: definitions, and the patches by which clients tell what the server can do."""
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.37.1+podhost"},
        "paths": build_v2_paths(KINDS),
        "definitions": _build_schemas(_KINDS, V2_PREFIX),
    }


def v2_json() -> bytes:
    """As JSON."""
    return msgspec.json.encode(v2_document())


def v2_protobuf() -> bytes:
    """As ``openapi.v2.Document``: kubectl reads it, older ones before they send anything."""
    return encode_document(v2_document())


def _build_schemas(kinds: Iterable[Kind], prefix: str) -> Obj:
    schemas = build_schemas({*find_schemas(kinds), LIST_META}, prefix, {**load_descriptions(), **OWN_DESCRIPTIONS})
    for kind in kinds:
        if "list" in kind.verbs:
            gvk = (kind.group, kind.version, f"{kind.kind}List")
            schemas[list_schema_name(kind)] = build_list_schema(kind.schema, gvk, prefix)
    return dict(sorted(schemas.items()))


@cache
def _documents() -> dict[str, tuple[Kind, ...]]:
    return {
        (f"apis/{group}/{version}" if group else f"api/{version}"): tuple(
            kind for kind in _KINDS if (kind.group, kind.version) == (group, version)
        )
        for group, versions in group_versions(_KINDS).items()
        for version in versions
    }
