"""Keeps the default roles and bindings, and fills in roles that are put together of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.api.access_kinds import CLUSTER_ROLE
from podhost.api.apply import Writer, apply_config
from podhost.api.rbac import GROUP, compute_aggregated_rules, find_uncovered
from podhost.api.rbac_defaults import build_default_cluster_role_bindings, build_default_cluster_roles
from podhost.api.time import format_time
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import API_SERVER, ensure_created, update_managed
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS = f"clusterroles.{GROUP}", f"clusterrolebindings.{GROUP}"
_AGGREGATOR = Writer("clusterrole-aggregation-controller")
_AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"

Obj = dict[str, Any]


class AccessController:
    """Defaults once, at the start, as kube-apiserver; aggregation at each change of a cluster role."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._loop: ReconcileLoop[str] = ReconcileLoop(store, "aggregated roles", self.reconcile)

    async def start(self) -> None:
        """All rights are there when this returns."""
        for role in build_default_cluster_roles():
            self._ensure(CLUSTER_ROLES, role, compute_completed_role)
        for binding in build_default_cluster_role_bindings():
            self._ensure(CLUSTER_ROLE_BINDINGS, binding, compute_completed_binding)
        # One that is put together may itself be a part of another: view, edit, admin.
        while sum(self._aggregate(role) for role in self._store.list(CLUSTER_ROLES)[0]):
            continue
        self._loop.watch(CLUSTER_ROLES, self._on_role)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, name: str) -> None:
        """Bring one role up to date; its own change marks those that it is a part of."""
        role = self._store.find(ObjectKey(CLUSTER_ROLES, "", name))
        if role is not None:
            self._aggregate(role)

    def _aggregate(self, role: Obj) -> bool:
        """Whether something has changed."""
        rules = compute_aggregated_rules(role, self._store.list(CLUSTER_ROLES)[0])
        if rules is None or rules == (role.get("rules") or []):
            return False
        name = role["metadata"]["name"]
        config = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
        now = format_time(self._clock.now_ns())
        applied = apply_config(role, config, _AGGREGATOR, CLUSTER_ROLE.schema, now, force=True)
        self._store.update(ObjectKey(CLUSTER_ROLES, "", name), applied)
        return True

    def _on_role(self, event: WatchEvent) -> None:
        for role in self._store.list(CLUSTER_ROLES)[0]:
            if role.get("aggregationRule"):
                self._loop.mark(role["metadata"]["name"])

    def _ensure(self, resource: str, wanted: Obj, complete: Callable[[Obj, Obj], Obj]) -> None:
        key = ObjectKey(resource, "", wanted["metadata"]["name"])
        found = ensure_created(self._store, self._clock, key, wanted, API_SERVER)
        if (found["metadata"].get("annotations") or {}).get(_AUTO_UPDATE, "true") != "false":
            completed = complete(found, wanted)
            if completed != found:
                update_managed(self._store, self._clock, key, completed, API_SERVER)


def compute_completed_role(found: Obj, wanted: Obj) -> Obj:
    """The role with what it should allow and does not; what a user has added stays."""
    if wanted.get("aggregationRule"):
        return {**found, "aggregationRule": found.get("aggregationRule") or wanted["aggregationRule"]}
    rules = list(found.get("rules") or ())
    return {**found, "rules": [*rules, *find_uncovered(rules, wanted.get("rules") or ())]}


def compute_completed_binding(found: Obj, wanted: Obj) -> Obj:
    """The binding with the groups that it should have and has not."""
    subjects = list(found.get("subjects") or ())
    return {**found, "subjects": [*subjects, *(each for each in wanted["subjects"] if each not in subjects)]}
