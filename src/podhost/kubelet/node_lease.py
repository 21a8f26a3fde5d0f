"""The Lease by which a node shows that it lives.  Its renewals are computed when it is read (``api/heartbeats.py``)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from podhost.api.apply import Writer, record_update
from podhost.api.heartbeats import LEASE_DURATION_S, LEASE_NAMESPACE
from podhost.api.kinds import LEASE
from podhost.api.time import format_micro_time, format_time
from podhost.kubelet.node_context import NodeContext
from podhost.store.keys import ObjectKey

_WRITER = Writer("kubelet")


def lease_key(node_name: str) -> ObjectKey:
    return ObjectKey(LEASE.resource_key, LEASE_NAMESPACE, node_name)


def renew_lease(context: NodeContext) -> None:
    """Write the node's Lease, as its present owner.  Nothing without the Node: it would belong to nobody."""
    name = context.settings.node_name
    node = context.store.find(ObjectKey("nodes", "", name))
    if node is None:
        return
    key, now_ns = lease_key(name), context.clock.now_ns()
    found = context.store.find(key)
    lease = build_lease(name, node["metadata"]["uid"], now_ns)
    if found is not None:
        lease["metadata"] = {**found["metadata"], "ownerReferences": lease["metadata"]["ownerReferences"]}
        lease["spec"] = {**(found.get("spec") or {}), **lease["spec"]}
    record_update(found, lease, _WRITER, LEASE.schema, format_time(now_ns))
    if found is None:
        context.store.create(key, lease)
    else:
        context.store.update(key, lease)


def build_lease(node_name: str, node_uid: str, now_ns: int) -> dict[str, Any]:
    """A fresh Lease."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": node_name,
            "namespace": LEASE_NAMESPACE,
            "uid": str(uuid4()),
            "creationTimestamp": format_time(now_ns),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid}],
        },
        "spec": {
            "holderIdentity": node_name,
            "leaseDurationSeconds": LEASE_DURATION_S,
            "renewTime": format_micro_time(now_ns),
        },
    }
