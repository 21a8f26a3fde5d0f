"""Nobody gives away rights that he does not have: checks on writes of roles and bindings.

After ``pkg/registry/rbac``: ``escalate`` on a role, or ``bind`` on the one bound, lifts the check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podhost.api import errors
from podhost.api.access_kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from podhost.api.kind import Kind
from podhost.api.rbac import GROUP, Attributes, Rule, find_uncovered, format_rule
from podhost.apiserver.authn import User
from podhost.apiserver.authz import EVERYTHING, Authorizer
from podhost.apiserver.registry import Admit

Obj = Mapping[str, Any]


def build_grant_check(authorizer: Authorizer, user: User, kind: Kind) -> Admit | None:
    """What has to be asked before an object of ``kind`` is written for ``user``."""
    if kind in (ROLE, CLUSTER_ROLE):
        return lambda new, old: _check_role(authorizer, user, kind, new, old)
    if kind in (ROLE_BINDING, CLUSTER_ROLE_BINDING):
        return lambda new, old: _check_binding(authorizer, user, kind, new, old)
    return None


def _check_role(authorizer: Authorizer, user: User, kind: Kind, new: Obj, old: Obj | None) -> None:
    before = old or {}
    if all((new.get(field) or None) == (before.get(field) or None) for field in ("rules", "aggregationRule")):
        return
    metadata = new["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
    if _may(authorizer, user, "escalate", kind.plural, namespace, name):
        return
    # With an aggregationRule, whatever others put into roles of that label comes in.
    if new.get("aggregationRule") and find_uncovered(authorizer.list_rules(user, namespace)[0], EVERYTHING):
        detail = "must have cluster-admin privileges to use an aggregationRule"
        raise errors.forbidden(kind.plural, name, detail, kind.group)
    _check_rules(authorizer, user, kind, new, new.get("rules") or ())


def _check_binding(authorizer: Authorizer, user: User, kind: Kind, new: Obj, old: Obj | None) -> None:
    if old is not None and all(new.get(field) == old.get(field) for field in ("roleRef", "subjects")):
        return
    ref, namespace = new.get("roleRef") or {}, new["metadata"].get("namespace", "")
    cluster = ref.get("kind") != "Role"
    resource = "clusterroles" if cluster else "roles"
    if _may(authorizer, user, "bind", resource, namespace, str(ref.get("name") or "")):
        return
    _check_rules(authorizer, user, kind, new, authorizer.find_role_rules(ref, namespace))


def _may(authorizer: Authorizer, user: User, verb: str, resource: str, namespace: str, name: str) -> bool:
    wanted = Attributes(verb=verb, namespace=namespace, group=GROUP, resource=resource, name=name)
    return authorizer.authorize(user, wanted).allowed


def _check_rules(authorizer: Authorizer, user: User, kind: Kind, new: Obj, rules: Sequence[Rule]) -> None:
    metadata = new["metadata"]
    held, problems = authorizer.list_rules(user, metadata.get("namespace", ""))
    missing = find_uncovered(held, rules)
    if not missing:
        return
    groups = " ".join(f'"{group}"' for group in sorted(user.groups))
    detail = (
        f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
        + "\n".join(sorted(map(format_rule, missing)))
    )
    if problems:
        detail += "; resolution errors: [" + ", ".join(problems) + "]"
    raise errors.forbidden(kind.plural, metadata.get("name", ""), detail, kind.group)
