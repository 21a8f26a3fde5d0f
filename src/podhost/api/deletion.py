"""What a deletion does to an object: pure decisions, as ``registry/rest.BeforeDelete`` of Kubernetes makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from podhost.api.objects import is_terminal
from podhost.api.time import format_time, parse_time

Obj = dict[str, Any]

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
"""Finalizers of the garbage collector."""
_DEFAULT_POD_GRACE_S = 30
_MAX_GRACE_S = 2**31 - 1
"""Any more, and the deadline is not a date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """``metav1.DeleteOptions``, the part that matters here."""

    grace_period_s: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    """The old form of ``propagation_policy``."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RemoveNow:
    """The object goes at once."""


@dataclass(frozen=True, slots=True)
class MarkDeleted:
    """The object stays, marked; whoever holds it (kubelet, finalizers) removes it later."""

    object: Obj


@dataclass(frozen=True, slots=True)
class AlreadyDeleting:
    """Nothing to do: it is on its way."""


Decision = RemoveNow | MarkDeleted | AlreadyDeleting


def compute_deletion(resource: str, obj: Obj, options: DeleteOptions, now: datetime) -> Decision:
    """What to do.  Never changes ``obj``."""
    obj = _with_propagation(obj, options)
    metadata = obj["metadata"]
    if "deletionTimestamp" in metadata:
        return _delete_again(resource, obj, options)
    grace_s = _grace_s(resource, obj, options)
    if resource == "namespaces":
        marked = _mark(obj, 0, now)
        return MarkDeleted({**marked, "status": {**obj.get("status", {}), "phase": "Terminating"}})
    if grace_s > 0 or metadata.get("finalizers"):
        return MarkDeleted(_mark(obj, grace_s, now))
    return RemoveNow()


def compute_finalizers(finalizers: Sequence[str], options: DeleteOptions) -> list[str]:
    """Finalizers at deletion: those of the garbage collector follow the policy, or else stay as they are."""
    orphan, foreground = ORPHAN in finalizers, FOREGROUND in finalizers and ORPHAN not in finalizers
    if options.orphan_dependents is not None:
        orphan, foreground = options.orphan_dependents, False
    elif options.propagation_policy is not None:
        orphan = options.propagation_policy == "Orphan"
        foreground = options.propagation_policy == "Foreground"
    kept = [name for name in finalizers if name not in (ORPHAN, FOREGROUND)]
    return [*kept, *([ORPHAN] if orphan else []), *([FOREGROUND] if foreground else [])]


def _with_propagation(obj: Obj, options: DeleteOptions) -> Obj:
    before = obj["metadata"].get("finalizers") or []
    after = compute_finalizers(before, options)
    if after == before:
        return obj
    metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
    return {**obj, "metadata": {**metadata, "finalizers": after} if after else metadata}


def is_released(resource: str, obj: Obj) -> bool:
    """After an update: the object was only held by finalizers, and the last one has gone."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if resource == "namespaces" and obj.get("spec", {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def _delete_again(resource: str, obj: Obj, options: DeleteOptions) -> Decision:
    metadata = obj["metadata"]
    if resource != "pods":
        # Without a grace period, only the policy can be new.
        return MarkDeleted(obj) if metadata.get("finalizers") or resource == "namespaces" else RemoveNow()
    old_s = metadata.get("deletionGracePeriodSeconds") or 0
    new_s = options.grace_period_s
    if new_s is None or new_s >= old_s:
        return AlreadyDeleting()
    new_s = 1 if new_s < 0 else new_s
    if new_s == 0 and not metadata.get("finalizers"):
        return RemoveNow()
    deadline = parse_time(metadata["deletionTimestamp"]) - timedelta(seconds=old_s - new_s)
    changed = {**metadata, "deletionTimestamp": format_time(deadline), "deletionGracePeriodSeconds": new_s}
    return MarkDeleted({**obj, "metadata": changed})


def _mark(obj: Obj, grace_s: int, now: datetime) -> Obj:
    metadata = dict(obj["metadata"])
    metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace_s))
    metadata["deletionGracePeriodSeconds"] = grace_s
    if metadata.get("generation"):
        metadata["generation"] += 1
    return {**obj, "metadata": metadata}


def _grace_s(resource: str, obj: Obj, options: DeleteOptions) -> int:
    """Only pods have a grace period, and of them those that a kubelet may be running."""
    if resource != "pods":
        return 0
    spec = obj.get("spec", {})
    if not spec.get("nodeName") or is_terminal(obj):
        return 0
    grace_s = options.grace_period_s
    if grace_s is None:
        grace_s = spec.get("terminationGracePeriodSeconds", _DEFAULT_POD_GRACE_S)
    return 1 if grace_s < 0 else min(int(grace_s), _MAX_GRACE_S)
