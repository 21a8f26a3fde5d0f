"""Create or update the objects of manifests, as ``kubectl apply`` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podhost.cli.apply_patch import (
    CLIENT_SIDE,
    LAST_APPLIED,
    SERVER_SIDE,
    compute_apply_patch,
    compute_handover,
    last_applied_of,
    must_apply_on_server,
    with_last_applied,
)
from podhost.cli.failure import HintedError
from podhost.cli.kinds import Resource, Resources, order_of
from podhost.cli.manifests import Manifest, explain_status
from podhost.cli.pod_watch import wait_gone
from podhost.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiClient, ApiStatusError
from podhost.errors import PodhostError

DELETION_TIMEOUT_S = 60.0
_CREATE_OPTIONS = {"fieldManager": CLIENT_SIDE, "fieldValidation": "Strict"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """An object after it was applied."""

    manifest: Manifest
    resource: Resource
    namespace: str
    object: dict[str, Any]
    change: str
    """``created``, ``configured`` or ``unchanged``."""

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def label(self) -> str:
        return f"{self.manifest.kind.lower()}/{self.name}"


def locate(manifests: Sequence[Manifest], resources: Resources, namespace: str) -> list[tuple[Manifest, Resource, str]]:
    """Resource and namespace of each object, in the order of creation.

    Nothing is made yet: a kind that nobody knows must fail before the first object exists.
    """
    found = []
    for manifest in sorted(manifests, key=order_of):
        resource = resources.of(manifest)
        found.append((manifest, resource, (manifest.namespace or namespace) if resource.namespaced else ""))
    return found


def apply_manifest(client: ApiClient, manifest: Manifest, resource: Resource, namespace: str) -> Applied:
    """Raises HintedError or FaultyManifestError, with file and line, when the server refuses."""
    document = json.loads(json.dumps(manifest.document))
    if resource.namespaced:
        document.setdefault("metadata", {})["namespace"] = namespace
    try:
        live, change = _apply(client, manifest, resource, namespace, document)
    except ApiStatusError as error:
        raise _explain(manifest, namespace, error) from error
    return Applied(manifest=manifest, resource=resource, namespace=namespace, object=live, change=change)


def _apply(
    client: ApiClient, manifest: Manifest, resource: Resource, namespace: str, document: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    collection = resource.path(namespace)
    if not manifest.name:
        bare = must_apply_on_server(document, None)
        wanted = document if bare else with_last_applied(document)
        return client.create(collection, wanted, **_CREATE_OPTIONS), "created"
    path = resource.path(namespace, manifest.name)
    try:
        live = client.get(path)
    except ApiStatusError as error:
        if error.code != 404:
            raise
        return _create(client, collection, path, document), "created"
    if live["metadata"].get("deletionTimestamp"):
        # Its end is near; what is wanted is a new one of that name.
        wait_gone(client, collection, manifest.name, str(live["metadata"]["uid"]), timeout_s=DELETION_TIMEOUT_S)
        return _create(client, collection, path, document), "created"
    after = send_changes(client, path, document, live)
    same = after["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion")
    return after, "unchanged" if same else "configured"


def _create(client: ApiClient, collection: str, path: str, document: dict[str, Any]) -> dict[str, Any]:
    if must_apply_on_server(document, None):
        return _apply_on_server(client, path, document)
    return client.create(collection, with_last_applied(document), **_CREATE_OPTIONS)


def send_changes(
    client: ApiClient, path: str, document: dict[str, Any], live: dict[str, Any], **query: str
) -> dict[str, Any]:
    """Make the live object what is wanted (or show it, with ``dryRun``); the object after it."""
    if not must_apply_on_server(document, live):
        return _send_patch(client, path, with_last_applied(document), live, {"fieldManager": CLIENT_SIDE} | query)
    handover = compute_handover(live) if LAST_APPLIED in (live["metadata"].get("annotations") or {}) else []
    if handover and not query:
        client.patch(path, handover, JSON_PATCH)
    return _apply_on_server(client, path, document, **query)


def _apply_on_server(client: ApiClient, path: str, document: dict[str, Any], **query: str) -> dict[str, Any]:
    """By force, as a client-side apply: what the file says counts."""
    options = {"fieldManager": SERVER_SIDE, "force": "true", "fieldValidation": "Strict"} | query
    return client.patch(path, document, APPLY_PATCH, **options)


def _send_patch(
    client: ApiClient, path: str, wanted: dict[str, Any], live: dict[str, Any], query: Mapping[str, str]
) -> dict[str, Any]:
    original = last_applied_of(live)
    patch = compute_apply_patch(original, wanted, live)
    if not patch:
        return live
    try:
        return client.patch(path, patch, STRATEGIC_MERGE_PATCH, **query)
    except ApiStatusError as error:
        if error.code != 415:
            raise
        # Kinds without a Go type (custom resources) know no strategic merge.
        return client.patch(path, compute_apply_patch(original, wanted, live, strategic=False), MERGE_PATCH, **query)


def _explain(manifest: Manifest, namespace: str, error: ApiStatusError) -> PodhostError:
    hints = []
    if error.reason == "Invalid" and manifest.kind == "Pod" and "may not" in str(error):
        hints.append(
            f"a running pod cannot be changed so: podhost down {manifest.source.rsplit(':', 1)[0]}, then up again"
        )
    if error.reason == "NotFound" and (error.status.get("details") or {}).get("kind") == "namespaces":
        hints.append(f"create the namespace first: kubectl create namespace {namespace}")
    located = explain_status(manifest, error.status)
    if located is not None:
        located.hints += hints
        return located
    return HintedError(f"cannot apply {manifest.source} ({manifest.kind} '{manifest.name}'): {error}", *hints)
