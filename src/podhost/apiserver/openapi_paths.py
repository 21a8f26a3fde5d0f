"""Paths of the OpenAPI documents: the generic verbs of every kind with their parameters.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podhost.api.kind import Kind
from podhost.apiserver import patching
from podhost.apiserver.openapi_schemas import V3_PREFIX

Obj = dict[str, Any]

DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"

_STRING, _INTEGER, _BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_PARAMETERS: dict[str, Obj] = {
    "allowWatchBookmarks": _BOOLEAN,
    "continue": _STRING,
    "dryRun": _STRING,
    "fieldManager": _STRING,
    "fieldSelector": _STRING,
    "fieldValidation": _STRING,
    "force": _BOOLEAN,
    "gracePeriodSeconds": _INTEGER,
    "labelSelector": _STRING,
    "limit": _INTEGER,
    "orphanDependents": _BOOLEAN,
    "pretty": _STRING,
    "propagationPolicy": _STRING,
    "resourceVersion": _STRING,
    "resourceVersionMatch": _STRING,
    "sendInitialEvents": _BOOLEAN,
    "timeoutSeconds": _INTEGER,
    "watch": _BOOLEAN,
}
_WRITE = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_PATCH = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "pretty", "propagationPolicy")
_LIST = (
    *("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "pretty", "resourceVersion"),
    *("resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"),
)
_BODIES = {"post": "", "put": "", "delete": DELETE_OPTIONS, "deletecollection": DELETE_OPTIONS}
"""Actions with a body, and its definition when it is not the kind's."""


def build_paths(kinds: Iterable[Kind]) -> Obj:
    """``paths`` of a v3 document."""
    paths: Obj = {}
    for kind in kinds:
        collection, item = _patterns(kind)
        paths[collection] = _path(collection) | {
            "get": _operation(kind, "list", _LIST),
            "post": _operation(kind, "post", _WRITE),
        }
        if "deletecollection" in kind.verbs:
            paths[collection]["delete"] = _operation(kind, "deletecollection", (*_DELETE, *_LIST[1:8]))
        paths[item] = _path(item) | {
            "get": _operation(kind, "get", ("pretty",)),
            "put": _operation(kind, "put", _WRITE),
            "patch": _patch_operation(kind),
            "delete": _operation(kind, "delete", _DELETE),
        }
    return paths


def build_v2_paths(kinds: Iterable[Kind]) -> Obj:
    """``paths`` of a v2 document: the patches, in whose parameters clients look for what the server can do."""
    paths: Obj = {}
    for kind in kinds:
        patch = {
            "operationId": f"patch{kind.kind}",
            "parameters": [{"name": name, "in": "query", **_PARAMETERS[name]} for name in _PATCH],
            "responses": {},
            **_extensions(kind, "patch"),
        }
        paths[_patterns(kind)[1]] = {"patch": patch}
    return paths


def _patterns(kind: Kind) -> tuple[str, str]:
    prefix = f"/apis/{kind.group_version}" if kind.group else f"/api/{kind.version}"
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    collection = f"{prefix}{scope}/{kind.plural}"
    return collection, collection + "/{name}"


def _path(pattern: str) -> Obj:
    names = [part[1:-1] for part in pattern.split("/") if part.startswith("{")]
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": _STRING} for name in names]}


def _operation(kind: Kind, action: str, parameters: Iterable[str]) -> Obj:
    operation: Obj = {
        "operationId": f"{action}{kind.kind}",
        "parameters": [
            {"name": name, "in": "query", "schema": {**_PARAMETERS[name], "uniqueItems": True}} for name in parameters
        ],
        "responses": {"200": {"description": "OK", "content": _content(kind.schema)}},
        **_extensions(kind, action),
    }
    if action in _BODIES:
        operation["requestBody"] = {"content": _content(_BODIES[action] or kind.schema)}
    return operation


def _content(definition: str) -> Obj:
    return {"application/json": {"schema": {"$ref": V3_PREFIX + definition}}}


def _patch_operation(kind: Kind) -> Obj:
    content = {media: {"schema": {"type": "object"}} for media in patching.ACCEPTED}
    return _operation(kind, "patch", _PATCH) | {"requestBody": {"content": content}}


def _extensions(kind: Kind, action: str) -> Obj:
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }
