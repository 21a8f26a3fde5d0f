"""Signs of life of a node, computed when somebody reads them.

A kubelet writes the ``renewTime`` of its Lease every 10 s and the ``lastHeartbeatTime`` of its conditions every five
minutes.  Here kubelet and API are one process: whoever gets an answer knows that the kubelet lives.  What is stored is
the time of the last real write; what is shown is the latest beat since.  ``docs/decisions/0012-heartbeats.md``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from podhost.api.objects import Object
from podhost.api.time import format_micro_time, format_time, parse_time

LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION_S = 40
RENEW_INTERVAL_S = 10
STATUS_INTERVAL_S = 300


def with_renew_time(lease: Object, node_name: str, now: datetime) -> Object:
    """The Lease of the node with its latest renewal; any other one as it is."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    ours = metadata["name"] == node_name and metadata.get("namespace") == LEASE_NAMESPACE
    if not ours or spec.get("holderIdentity") != node_name:
        return lease
    beat = _latest_beat(spec.get("renewTime"), RENEW_INTERVAL_S, now)
    return lease if beat is None else {**lease, "spec": {**spec, "renewTime": format_micro_time(beat)}}


def with_heartbeats(node: Object, node_name: str, now: datetime) -> Object:
    """The Node with the latest heartbeats of its conditions; any other one as it is."""
    status = node.get("status") or {}
    if node["metadata"]["name"] != node_name or not status.get("conditions"):
        return node
    return {**node, "status": {**status, "conditions": [_beating(each, now) for each in status["conditions"]]}}


def _beating(condition: Object, now: datetime) -> Object:
    beat = _latest_beat(condition.get("lastHeartbeatTime"), STATUS_INTERVAL_S, now)
    return condition if beat is None else {**condition, "lastHeartbeatTime": format_time(beat)}


def _latest_beat(written: str | None, interval_s: int, now: datetime) -> datetime | None:
    """``None``: there is no later one than what was written."""
    try:
        since = parse_time(written or "")
    except ValueError:
        return None
    beats = (now - since) // timedelta(seconds=interval_s)
    return since + timedelta(seconds=beats * interval_s) if beats > 0 else None
