"""Making and comparing the objects that controllers write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from podhost.aiokit.clock import Clock
from podhost.api.apply import Writer, record_update, record_write
from podhost.api.kinds import kind_by_resource_key
from podhost.api.time import format_time
from podhost.errors import ConflictError, ExistsError, NotFoundError
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

Obj = dict[str, Any]
Doc = Mapping[str, Any]

API_SERVER, CONTROLLER_MANAGER, SCHEDULER = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
"""Whom a cluster's ``managedFields`` name as the writer of what controllers write."""


def with_server_fields(obj: Obj, clock: Clock) -> Obj:
    """The object with the metadata that the API server sets at creation."""
    metadata = {**obj["metadata"], "uid": str(uuid4()), "creationTimestamp": format_time(clock.now_ns())}
    return {**obj, "metadata": metadata}


def with_managers(key: ObjectKey, live: Obj | None, obj: Obj, clock: Clock, manager: str = CONTROLLER_MANAGER) -> Obj:
    """The object with what this write makes of its ``managedFields``."""
    kind = kind_by_resource_key(key.resource)
    if kind is None:
        return obj
    recorded = {**obj, "metadata": dict(obj["metadata"])}
    if live is None:
        # What an object is made with is no write to its status.
        record_update(None, recorded, Writer(manager), kind.schema, format_time(clock.now_ns()))
    else:
        record_write(live, recorded, manager, kind.schema, format_time(clock.now_ns()))
    return recorded


def update_managed(store: Store, clock: Clock, key: ObjectKey, changed: Obj, manager: str = CONTROLLER_MANAGER) -> Obj:
    """Write the object; its changes are the manager's.  Raises NotFoundError."""
    return store.update(key, with_managers(key, store.get(key), changed, clock, manager))


def mutate_managed(
    store: Store,
    clock: Clock,
    key: ObjectKey,
    change: Callable[[Obj], Obj | None],
    manager: str = CONTROLLER_MANAGER,
) -> Obj:
    """As ``store.mutate``; the changes are the manager's.  Raises NotFoundError."""
    live = store.get(key)

    def recorded(obj: Obj) -> Obj | None:
        changed = change(obj)
        return None if changed is None or changed == live else with_managers(key, live, changed, clock, manager)

    return store.mutate(key, recorded)


def build_owner_reference(owner: Doc, api_version: str, kind: str) -> Obj:
    """A controller reference."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def ensure_created(store: Store, clock: Clock, key: ObjectKey, obj: Obj, manager: str = CONTROLLER_MANAGER) -> Obj:
    """The object as stored; created when it is not there, left alone when it is."""
    found = store.find(key)
    if found is not None:
        return found
    try:
        return store.create(key, with_managers(key, None, with_server_fields(obj, clock), clock, manager))
    except ExistsError:
        return store.get(key)


def ensure_content(store: Store, clock: Clock, key: ObjectKey, wanted: Obj, manager: str = CONTROLLER_MANAGER) -> None:
    """The stored object has these labels and top-level fields; no write when it has them already."""
    found = store.find(key)
    if found is None:
        ensure_created(store, clock, key, wanted, manager)
        return
    changed = compute_merged(found, wanted)
    if changed is not None:
        store.update(key, with_managers(key, found, changed, clock, manager))


def compute_merged(found: Doc, wanted: Doc) -> Obj | None:
    """``found`` with the labels and content of ``wanted``, or None when it has them."""
    metadata = {**found["metadata"]}
    for part in ("labels", "annotations", "ownerReferences"):
        if part in wanted["metadata"]:
            metadata[part] = wanted["metadata"][part]
    content = {name: value for name, value in wanted.items() if name != "metadata"}
    # What the wanted object has not, such as the subsets of a service without pods, goes.
    kept = {name: value for name, value in found.items() if name in ("apiVersion", "kind", "status", "spec")}
    merged = {**kept, **content, "metadata": metadata}
    return None if merged == found else merged


def with_disruption_target(pod: Obj, reason: str, message: str, now: str) -> Obj:
    """The pod with the condition that tells why it is deleted, in place."""
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    kept = [condition for condition in conditions if condition.get("type") != "DisruptionTarget"]
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    pod["status"]["conditions"] = [*kept, target]
    return pod


def delete_if_there(store: Store, key: ObjectKey, *, uid: str | None = None) -> None:
    """Delete; fine when it is gone, or is another object of that name."""
    try:
        store.delete(key, expected_uid=uid)
    except (NotFoundError, ConflictError):
        return
