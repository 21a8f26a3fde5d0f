"""Roles and bindings in the store, asked for users; and who may hand them out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from podhost.aiokit.clock import SystemClock
from podhost.api.access_kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from podhost.api.errors import ApiError
from podhost.api.kinds import POD
from podhost.api.rbac import GROUP, Attributes
from podhost.apiserver.authn import ADMIN, AUTHENTICATED, User
from podhost.apiserver.authz import Authorizer, check_create_access, refuse
from podhost.apiserver.escalation import build_grant_check
from podhost.apiserver.impersonation import impersonate
from podhost.store import ObjectKey, Store

BOB = User("bob", frozenset({"devs", AUTHENTICATED}))
GET = Attributes(verb="get", namespace="ns", resource="pods", name="p")
ELSEWHERE = Attributes(verb="get", namespace="other", resource="pods", name="p")
READ = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
WRITE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}


class Roles:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.authorizer = Authorizer(store)

    def role(self, name: str, *rules: dict[str, Any], namespace: str = "") -> None:
        plural = "roles" if namespace else "clusterroles"
        self._create(plural, namespace, {"metadata": {"name": name}, "rules": list(rules)})

    def bind(self, name: str, role: str, *subjects: dict[str, str], namespace: str = "", kind: str = "") -> None:
        plural = "rolebindings" if namespace else "clusterrolebindings"
        ref = {"kind": kind or "ClusterRole", "name": role, "apiGroup": GROUP}
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        self._create(plural, namespace, {"metadata": metadata, "roleRef": ref, "subjects": list(subjects)})

    def _create(self, plural: str, namespace: str, obj: dict[str, Any]) -> None:
        self.store.create(ObjectKey(f"{plural}.{GROUP}", namespace, obj["metadata"]["name"]), obj)


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    store = Store(tmp_path / "objects.db", SystemClock())
    yield Roles(store)
    store.close()


def test_a_cluster_binding_counts_everywhere_and_says_why(roles: Roles) -> None:
    assert not roles.authorizer.authorize(BOB, GET).allowed
    roles.role("reader", READ)
    roles.bind("b", "reader", {"kind": "Group", "name": "devs"})
    decision = roles.authorizer.authorize(BOB, GET)
    assert decision.allowed
    assert decision.reason == 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to Group "devs"'
    assert roles.authorizer.authorize(BOB, ELSEWHERE).allowed


@pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
def test_a_binding_counts_in_its_namespace(roles: Roles, kind: str) -> None:
    roles.role("reader", READ, namespace="ns" if kind == "Role" else "")
    roles.bind("b", "reader", {"kind": "User", "name": "bob"}, namespace="ns", kind=kind)
    decision = roles.authorizer.authorize(BOB, GET)
    assert decision.reason == f'RBAC: allowed by RoleBinding "b/ns" of {kind} "reader" to User "bob"'
    assert not roles.authorizer.authorize(BOB, ELSEWHERE).allowed


def test_a_binding_of_a_role_that_is_missing_is_said_in_the_refusal(roles: Roles) -> None:
    roles.bind("b", "gone", {"kind": "User", "name": "bob"})
    decision = roles.authorizer.authorize(BOB, GET)
    assert not decision.allowed
    assert str(refuse(BOB, GET, decision.reason)) == (
        'pods "p" is forbidden: User "bob" cannot get resource "pods" in API group "" in the namespace "ns": '
        'RBAC: [clusterroles.rbac.authorization.k8s.io "gone" not found]'
    )


@pytest.mark.parametrize("verb", ["update", "patch"])
def test_an_update_that_makes_the_object_needs_the_right_to_create_it(roles: Roles, verb: str) -> None:
    written = Attributes(verb=verb, namespace="ns", resource="pods", name="p")
    roles.role("changer", {"apiGroups": [""], "resources": ["pods"], "verbs": ["update", "patch"]})
    roles.bind("b", "changer", {"kind": "User", "name": "bob"})
    with pytest.raises(ApiError, match='pods "p" is forbidden: User "bob" cannot create resource "pods"') as caught:
        check_create_access(roles.authorizer, BOB, written)
    assert caught.value.code == 403
    roles.role("creator", WRITE)
    roles.bind("c", "creator", {"kind": "User", "name": "bob"})
    check_create_access(roles.authorizer, BOB, written)


def test_masters_may_do_everything(roles: Roles) -> None:
    assert roles.authorizer.authorize(ADMIN, GET).allowed
    assert roles.authorizer.list_rules(ADMIN, "ns")[0][0]["verbs"] == ["*"]


def check(roles: Roles, user: User, kind: Any, new: dict[str, Any], old: dict[str, Any] | None = None) -> str:
    admit = build_grant_check(roles.authorizer, user, kind)
    assert admit is not None
    try:
        admit(new, old)
    except ApiError as error:
        return error.message
    return ""


def test_nobody_makes_a_role_of_more_than_he_may(roles: Roles) -> None:
    roles.role("reader", READ)
    roles.bind("b", "reader", {"kind": "User", "name": "bob"})
    wanted = {"metadata": {"name": "r", "namespace": "ns"}, "rules": [READ, WRITE]}
    refused = check(roles, BOB, ROLE, wanted)
    assert refused == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "bob" (groups=["devs" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["create"]}'
    )
    assert not check(roles, BOB, ROLE, {**wanted, "rules": [READ]})
    assert not check(roles, BOB, ROLE, wanted, wanted), "what does not change is not asked about"
    assert not check(roles, ADMIN, ROLE, wanted)
    roles.role("escalator", {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]})
    roles.bind("c", "escalator", {"kind": "User", "name": "bob"})
    assert not check(roles, BOB, ROLE, wanted)


def test_nobody_aggregates_roles_who_has_not_everything(roles: Roles) -> None:
    wanted = {"metadata": {"name": "r"}, "rules": [], "aggregationRule": {"clusterRoleSelectors": [{}]}}
    assert "cluster-admin privileges" in check(roles, BOB, CLUSTER_ROLE, wanted)
    assert not check(roles, ADMIN, CLUSTER_ROLE, wanted)


def test_nobody_binds_a_role_of_more_than_he_may(roles: Roles) -> None:
    roles.role("writer", WRITE)
    ref = {"kind": "ClusterRole", "name": "writer", "apiGroup": GROUP}
    binding = {"metadata": {"name": "b", "namespace": "ns"}, "roleRef": ref, "subjects": []}
    assert "not currently held" in check(roles, BOB, ROLE_BINDING, binding)
    assert "not currently held" in check(roles, BOB, CLUSTER_ROLE_BINDING, {**binding, "metadata": {"name": "b"}})
    missing = {**binding, "roleRef": {**ref, "name": "gone"}}
    assert check(roles, BOB, ROLE_BINDING, missing) == 'clusterroles.rbac.authorization.k8s.io "gone" not found'
    rule = {"apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["writer"], "verbs": ["bind"]}
    roles.role("binder", rule)
    roles.bind("c", "binder", {"kind": "User", "name": "bob"})
    assert not check(roles, BOB, ROLE_BINDING, binding)
    assert build_grant_check(roles.authorizer, BOB, POD) is None


def headers(**values: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({f"Impersonate-{key}": value for key, value in values.items()}))


def test_who_may_impersonate_becomes_the_other(roles: Roles) -> None:
    assert impersonate(headers(), BOB, roles.authorizer) is BOB
    with pytest.raises(ApiError) as caught:
        impersonate(headers(User="eve"), BOB, roles.authorizer)
    assert str(caught.value) == (
        'users "eve" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    eve = impersonate(headers(User="eve", Group="ops", Uid="7"), ADMIN, roles.authorizer)
    assert eve == User("eve", frozenset({"ops", AUTHENTICATED}), "7")
    bot = impersonate(headers(User="system:serviceaccount:ns:bot"), ADMIN, roles.authorizer)
    assert bot.groups == {"system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED}
    roles.role("impersonator", {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]})
    roles.bind("b", "impersonator", {"kind": "User", "name": "bob"})
    assert impersonate(headers(User="eve"), BOB, roles.authorizer).name == "eve"
    with pytest.raises(ApiError, match='groups "system:masters" is forbidden'):
        impersonate(headers(User="eve", Group="system:masters"), BOB, roles.authorizer)
    with pytest.raises(ApiError, match="without impersonating a user"):
        impersonate(headers(Group="ops"), ADMIN, roles.authorizer)
