"""Writes a pod's status to the store, when it says something new."""

from __future__ import annotations

from typing import Any

from podhost.api.apply import Writer, record_update
from podhost.api.kinds import POD
from podhost.api.objects import read_pod_uid
from podhost.api.time import format_time
from podhost.errors import NotFoundError
from podhost.kubelet.pod_conditions import OWNED_CONDITIONS
from podhost.store.keys import ObjectKey
from podhost.store.store import Store

DISRUPTION_TARGET = "DisruptionTarget"
TERMINATION_BY_KUBELET = "TerminationByKubelet"
_WRITER = Writer("kubelet", "status")


def write_status(store: Store, key: ObjectKey, uid: str, status: dict[str, Any], now_ns: int) -> bool:
    """Replace the status; False when the pod is gone, is another one, or has this status already.

    Conditions of others are taken from what is stored now: they may be newer than those seen at generation.
    """
    current = store.find(key)
    if current is None or read_pod_uid(current) != uid:
        return False
    old = current.get("status") or {}
    foreign = [c for c in old.get("conditions") or () if c.get("type") not in OWNED_CONDITIONS]
    owned = [c for c in status["conditions"] if c["type"] in OWNED_CONDITIONS]
    merged = {**status, "conditions": owned + foreign}
    if not merged["conditions"]:
        del merged["conditions"]
    if merged == old:
        return False
    try:
        changed = {**current, "metadata": dict(current["metadata"]), "status": merged}
        record_update(current, changed, _WRITER, POD.schema, format_time(now_ns))
        store.update(key, changed)
    except NotFoundError:
        return False
    return True


def write_disruption(store: Store, key: ObjectKey, uid: str, message: str, now_ns: int) -> None:
    """Say that the pod ends for no fault of its own, before it does."""
    current = store.find(key)
    if current is None or read_pod_uid(current) != uid:
        return
    status = current.get("status") or {}
    condition = {
        "type": DISRUPTION_TARGET,
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": format_time(now_ns),
        "reason": TERMINATION_BY_KUBELET,
        "message": message,
    }
    kept = [each for each in status.get("conditions") or () if each.get("type") != DISRUPTION_TARGET]
    changed = {**current, "metadata": dict(current["metadata"]), "status": {**status, "conditions": [*kept, condition]}}
    record_update(current, changed, _WRITER, POD.schema, format_time(now_ns))
    store.update(key, changed)
