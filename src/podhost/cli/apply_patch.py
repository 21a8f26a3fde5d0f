"""Three-way patches as ``kubectl apply`` computes them, from what was applied last, what is wanted and what is there.

Pure.  What the author removed since the last apply is removed; what others have set stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CLIENT_SIDE, SERVER_SIDE = "kubectl-client-side-apply", "kubectl"
"""Field managers of ``kubectl apply`` without and with ``--server-side``, which so goes on where we have stopped."""
_CLIENT_SIDE_MANAGERS = (CLIENT_SIDE, "podhost")
_MAX_ANNOTATIONS_BYTES = 256 << 10
"""Of all annotations together: more is refused by every API server."""

_MERGE_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "resourceClaims": ("name",),
    "secrets": ("name",),
    "ownerReferences": ("uid",),
}
"""``x-kubernetes-patch-merge-key`` of the lists that pods, services and service accounts have."""


def with_last_applied(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that carries itself in the annotation, as kubectl writes it."""
    bare = json.loads(json.dumps(document))
    metadata = bare.setdefault("metadata", {})
    annotations = metadata.get("annotations") or {}
    annotations.pop(LAST_APPLIED, None)
    metadata["annotations"] = annotations
    bare.pop("status", None)
    text = json.dumps(bare, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    metadata["annotations"] = {**annotations, LAST_APPLIED: text}
    result: dict[str, Any] = bare
    return result


def must_apply_on_server(document: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Whether what is applied cannot be noted down in the annotation, or was not the last time.

    The server notes down which fields are ours where a document is too large for the annotation.
    """
    annotations = with_last_applied(document)["metadata"]["annotations"]
    if sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items()) > _MAX_ANNOTATIONS_BYTES:
        return True
    if live is None or last_applied_of(live):
        return False
    managers = (live.get("metadata") or {}).get("managedFields") or []
    return any((each.get("manager"), each.get("operation")) == (SERVER_SIDE, "Apply") for each in managers)


def compute_handover(live: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A JSON patch that gives the fields of our client-side applies to the manager of our server-side ones.

    So a server-side apply removes what the file no longer has, and conflicts with nobody.  Empty when there is nothing
    to hand over.
    """
    metadata = live["metadata"]
    managers = metadata.get("managedFields") or []
    ours = [each for each in managers if _is_ours(each)]
    if not ours:
        return []
    fields: dict[str, Any] = {}
    for each in ours:
        fields = _union(fields, each.get("fieldsV1") or {})
    fields.get("f:metadata", {}).get("f:annotations", {}).pop("f:" + LAST_APPLIED, None)
    taken_over = {**ours[0], "manager": SERVER_SIDE, "operation": "Apply", "fieldsV1": fields}
    others = [each for each in managers if not _is_ours(each)]
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [taken_over, *others]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
    ]
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        patch.append({"op": "remove", "path": "/metadata/annotations/" + LAST_APPLIED.replace("/", "~1")})
    return patch


def _is_ours(entry: Mapping[str, Any]) -> bool:
    manager, operation = entry.get("manager"), entry.get("operation")
    client_side = manager in _CLIENT_SIDE_MANAGERS and operation == "Update"
    return not entry.get("subresource") and (client_side or (manager, operation) == (SERVER_SIDE, "Apply"))


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Of two trees of fields."""
    return {key: _union(one.get(key) or {}, other.get(key) or {}) for key in {**one, **other}}


def last_applied_of(live: Mapping[str, Any]) -> dict[str, Any]:
    """What was applied last; empty for an object that was made otherwise."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        document = json.loads(text) if text else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def compute_apply_patch(
    original: Mapping[str, Any], modified: Mapping[str, Any], current: Mapping[str, Any], *, strategic: bool = True
) -> dict[str, Any]:
    """A strategic merge patch (or a JSON merge patch) that takes ``current`` to ``modified``; empty when it is there.

    ``original`` is what was applied last, ``modified`` what is wanted (with the annotation).
    """
    patch: dict[str, Any] = {}
    for key, wanted in modified.items():
        if key not in current or (current[key] is None and wanted is not None):
            if wanted is not None:
                patch[key] = wanted
            continue
        there = current[key]
        before = original.get(key)
        if isinstance(wanted, Mapping) and isinstance(there, Mapping):
            inner = compute_apply_patch(
                before if isinstance(before, Mapping) else {}, wanted, there, strategic=strategic
            )
            if inner:
                patch[key] = inner
        elif strategic and (merge_key := _merge_key(key, wanted, there)):
            changes = _list_patch(before if isinstance(before, list) else [], wanted, there, merge_key)
            if changes:
                patch[key] = changes
        elif wanted != there:
            patch[key] = wanted
    for key in original:
        if key not in modified and key in current:
            patch[key] = None
    return patch


def _merge_key(field: str, wanted: object, there: object) -> str | None:
    for key in _MERGE_KEYS.get(field, ()):
        if _all_have(wanted, key) and _all_have(there, key):
            return key
    return None


def _all_have(items: object, key: str) -> bool:
    return isinstance(items, list) and all(isinstance(item, Mapping) and key in item for item in items)


def _list_patch(
    before: Sequence[Any], wanted: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]], merge_key: str
) -> list[dict[str, Any]]:
    by_key = {item[merge_key]: item for item in there}
    old_by_key = {item[merge_key]: item for item in before if isinstance(item, Mapping) and merge_key in item}
    changes: list[dict[str, Any]] = []
    for item in wanted:
        live = by_key.get(item[merge_key])
        if live is None:
            changes.append(dict(item))
            continue
        inner = compute_apply_patch(old_by_key.get(item[merge_key], {}), item, live)
        if inner:
            changes.append({merge_key: item[merge_key], **inner})
    kept = {item[merge_key] for item in wanted}
    gone = [key for key in old_by_key if key not in kept and key in by_key]
    return changes + [{"$patch": "delete", merge_key: key} for key in gone]
