"""Paths of the OpenAPI documents: the verbs of every kind with their parameters and answers.  Pure.

The streams (``exec``, ``attach``, ``portforward``, ``proxy``) are left out: they have nothing that a schema describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from podhost.api import schema
from podhost.api.kind import Kind, Subresource
from podhost.apiserver import patching
from podhost.apiserver.openapi_schemas import V3_PREFIX

Obj = dict[str, Any]

DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"

_STRING, _INTEGER, _BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_PARAMETERS: dict[str, Obj] = {
    "allowWatchBookmarks": _BOOLEAN,
    "container": _STRING,
    "continue": _STRING,
    "dryRun": _STRING,
    "fieldManager": _STRING,
    "fieldSelector": _STRING,
    "fieldValidation": _STRING,
    "follow": _BOOLEAN,
    "force": _BOOLEAN,
    "gracePeriodSeconds": _INTEGER,
    "insecureSkipTLSVerifyBackend": _BOOLEAN,
    "labelSelector": _STRING,
    "limit": _INTEGER,
    "limitBytes": _INTEGER,
    "orphanDependents": _BOOLEAN,
    "pretty": _STRING,
    "previous": _BOOLEAN,
    "propagationPolicy": _STRING,
    "resourceVersion": _STRING,
    "resourceVersionMatch": _STRING,
    "sendInitialEvents": _BOOLEAN,
    "sinceSeconds": _INTEGER,
    "stream": _STRING,
    "tailLines": _INTEGER,
    "timeoutSeconds": _INTEGER,
    "timestamps": _BOOLEAN,
    "watch": _BOOLEAN,
}
_WRITE = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_PATCH = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "pretty", "propagationPolicy")
_LIST = (
    *("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "pretty", "resourceVersion"),
    *("resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"),
)
_LOG = (
    *("container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "pretty", "previous", "sinceSeconds"),
    *("stream", "tailLines", "timestamps"),
)
_STREAMS = frozenset({"attach", "exec", "portforward", "proxy"})
_METHODS = {"get": "get", "update": "put", "patch": "patch", "create": "post"}
"""By verb of a subresource."""
_VERBS = {"get": "read", "put": "replace", "patch": "patch", "post": "create", "delete": "delete", "list": "list"}
"""As the names of operations begin."""
_MADE: dict[str, tuple[int, ...]] = {"post": (200, 201, 202), "put": (200, 201), "patch": (200, 201)}
_DESCRIPTIONS = {200: "OK", 201: "Created", 202: "Accepted", 401: "Unauthorized"}


def list_schema_name(kind: Kind) -> str:
    """Full name of the definition of a list of the kind."""
    return f"{kind.schema}List"


def find_schemas(kinds: Iterable[Kind]) -> set[str]:
    """Names of the definitions that the operations of these kinds speak of, lists aside."""
    found = {DELETE_OPTIONS, STATUS}
    for kind in kinds:
        found.add(kind.schema)
        found.update(_schema_of(kind, sub) for sub in _subresources(kind))
    return found


def build_paths(kinds: Iterable[Kind]) -> Obj:
    """``paths`` of a v3 document."""
    paths: Obj = {}
    for kind in kinds:
        collection, item = _patterns(kind)
        methods = dict(_collection_operations(kind))
        if methods:
            paths[collection] = _path(collection) | methods
        methods = dict(_item_operations(kind))
        if methods:
            paths[item] = _path(item) | methods
        if kind.namespaced and "list" in kind.verbs:
            everywhere = collection.replace("/namespaces/{namespace}", "")
            listing = _operation(kind, "list", _LIST, answer=list_schema_name(kind), scope="ForAllNamespaces")
            paths[everywhere] = {"get": listing}
        for sub in _subresources(kind):
            paths[f"{item}/{sub.name}"] = _path(item) | dict(_subresource_operations(kind, sub))
    return paths


def build_v2_paths(kinds: Iterable[Kind]) -> Obj:
    """``paths`` of a v2 document: the patches, in whose parameters clients look for what the server can do."""
    paths: Obj = {}
    for kind in kinds:
        patch = {
            "operationId": _name_operation(kind, "patch"),
            "parameters": [{"name": name, "in": "query", **_PARAMETERS[name]} for name in _PATCH],
            "responses": {},
            **_extensions(kind, "patch"),
        }
        paths[_patterns(kind)[1]] = {"patch": patch}
    return paths


def _collection_operations(kind: Kind) -> Iterator[tuple[str, Obj]]:
    if "list" in kind.verbs:
        yield "get", _operation(kind, "list", _LIST, answer=list_schema_name(kind))
    if "create" in kind.verbs:
        yield "post", _operation(kind, "post", _WRITE, body=kind.schema)
    if "deletecollection" in kind.verbs:
        parameters = (*_DELETE, *_LIST[1:8])
        yield "delete", _operation(kind, "deletecollection", parameters, body=DELETE_OPTIONS, answer=STATUS)


def _item_operations(kind: Kind) -> Iterator[tuple[str, Obj]]:
    if "get" in kind.verbs:
        yield "get", _operation(kind, "get", ("pretty",))
    if "update" in kind.verbs:
        yield "put", _operation(kind, "put", _WRITE, body=kind.schema)
    if "patch" in kind.verbs:
        yield "patch", _patch_operation(kind)
    if "delete" in kind.verbs:
        answer = kind.schema if kind.returns_deleted else STATUS
        yield "delete", _operation(kind, "delete", _DELETE, body=DELETE_OPTIONS, answer=answer, codes=(200, 202))


def _subresources(kind: Kind) -> list[Subresource]:
    return [sub for sub in kind.subresources if sub.name not in _STREAMS]


def _subresource_operations(kind: Kind, sub: Subresource) -> Iterator[tuple[str, Obj]]:
    name = _schema_of(kind, sub)
    if sub.name == "log":
        text = {"text/plain": {"schema": _STRING}}
        yield "get", _operation(kind, "get", _LOG, sub=sub) | {"responses": {"200": _response(200, text)}}
        return
    for verb in sub.verbs:
        method = _METHODS[verb]
        if method == "patch":
            yield method, _patch_operation(kind, sub)
        elif method == "get":
            yield method, _operation(kind, "get", ("pretty",), answer=name, sub=sub)
        else:
            yield method, _operation(kind, method, _WRITE, body=name, answer=name, sub=sub)


def _schema_of(kind: Kind, sub: Subresource) -> str:
    """Definition of what is sent to the subresource."""
    if sub.kind == kind.kind:
        return kind.schema
    wanted = (sub.group, sub.version or kind.version, sub.kind)
    return next(name for name in schema.definition_names() if schema.definition(name).gvk == wanted)


def _patterns(kind: Kind) -> tuple[str, str]:
    prefix = f"/apis/{kind.group_version}" if kind.group else f"/api/{kind.version}"
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    collection = f"{prefix}{scope}/{kind.plural}"
    return collection, collection + "/{name}"


def _path(pattern: str) -> Obj:
    names = [part[1:-1] for part in pattern.split("/") if part.startswith("{")]
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": _STRING} for name in names]}


def _operation(
    kind: Kind,
    action: str,
    parameters: Iterable[str],
    *,
    body: str = "",
    answer: str = "",
    codes: tuple[int, ...] = (),
    sub: Subresource | None = None,
    scope: str = "",
) -> Obj:
    """``body`` and ``answer`` are definitions; without an answer it is the kind's."""
    content = _content(answer or kind.schema)
    operation: Obj = {
        "operationId": _name_operation(kind, action, sub, scope),
        "parameters": [
            {"name": name, "in": "query", "schema": {**_PARAMETERS[name], "uniqueItems": True}} for name in parameters
        ],
        "responses": {str(code): _response(code, content) for code in codes or _MADE.get(action, (200,))}
        | {"401": _response(401, None)},
        **_extensions(kind, action, sub),
    }
    if body:
        operation["requestBody"] = {"content": _content(body)}
    return operation


def _response(code: int, content: Obj | None) -> Obj:
    response: Obj = {"description": _DESCRIPTIONS[code]}
    return response if content is None else response | {"content": content}


def _content(definition: str) -> Obj:
    answer = {"schema": {"$ref": V3_PREFIX + definition}}
    return {"application/json": answer, "application/yaml": answer}


def _patch_operation(kind: Kind, sub: Subresource | None = None) -> Obj:
    content = {media: {"schema": {"type": "object"}} for media in patching.ACCEPTED}
    return _operation(kind, "patch", _PATCH, sub=sub) | {"requestBody": {"content": content}}


def _name_operation(kind: Kind, action: str, sub: Subresource | None = None, scope: str = "") -> str:
    """``replaceCoreV1NamespacedPodStatus``: generated clients call their methods so."""
    group = "".join(part.capitalize() for part in (kind.group.removesuffix(".k8s.io") or "core").split("."))
    collection = "Collection" if action == "deletecollection" else ""
    verb = "delete" if collection else _VERBS[action]
    namespaced = "Namespaced" if kind.namespaced and not scope else ""
    part = sub.name.capitalize() if sub is not None else ""
    return f"{verb}{group}{kind.version.capitalize()}{collection}{namespaced}{kind.kind}{part}{scope}"


def _extensions(kind: Kind, action: str, sub: Subresource | None = None) -> Obj:
    group, version, name = kind.group, kind.version, kind.kind
    if sub is not None and sub.kind != kind.kind:
        group, version, name = sub.group, sub.version or kind.version, sub.kind
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": name},
    }
