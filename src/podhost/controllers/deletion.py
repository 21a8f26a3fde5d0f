"""Deleting an object as the API server does it for a client."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.time import format_time
from podhost.errors import NotFoundError
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

_DEFAULT_GRACE_S = 30


def request_deletion(store: Store, clock: Clock, key: ObjectKey) -> None:
    """Remove the object, or mark it where somebody has to act first: a kubelet, or the owner of a finalizer.

    Idempotent; a mark that is there already stays as it is.
    """
    found = store.find(key)
    if found is None:
        return
    grace_s = _grace_s(key, found)
    if grace_s == 0 and not found["metadata"].get("finalizers"):
        try:
            store.delete(key, expected_uid=found["metadata"].get("uid"))
        except NotFoundError:
            return
        return
    if "deletionTimestamp" not in found["metadata"]:
        store.mutate(key, lambda obj: _mark(obj, clock, grace_s))


def _grace_s(key: ObjectKey, obj: dict[str, Any]) -> int:
    """Only a pod that is on a node and has not ended needs time."""
    spec = obj.get("spec") or {}
    ended = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if key.resource != "pods" or not spec.get("nodeName") or ended:
        return 0
    return int(spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S))


def _mark(obj: dict[str, Any], clock: Clock, grace_s: int) -> dict[str, Any]:
    metadata = obj["metadata"]
    metadata["deletionTimestamp"] = format_time(clock.now() + timedelta(seconds=grace_s))
    metadata["deletionGracePeriodSeconds"] = grace_s
    if "generation" in metadata:
        metadata["generation"] += 1
    return obj
