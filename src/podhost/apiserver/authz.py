"""May this user do that: RBAC on the roles and bindings in the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.rbac import GROUP, Attributes, Rule, rule_allows, subject_matches
from podhost.apiserver.authn import ANONYMOUS, MASTERS, User
from podhost.apiserver.call import Call
from podhost.apiserver.routing import Access
from podhost.store import ObjectKey, Store

Obj = Mapping[str, Any]

_WEBSOCKET_VERB = "create"
"""Since 1.35 a stream that begins with a GET needs what one that begins with a POST needs."""
EVERYTHING: tuple[Rule, ...] = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
_STREAMS = frozenset({"exec", "attach", "portforward"})


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may go on; ``reason`` says which binding allows it, or what kept bindings from being read."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule that a user has, and by which binding."""

    rule: Rule
    binding: Obj
    subject: Obj


@dataclass(slots=True)
class _Problems:
    texts: list[str] = field(default_factory=list)


class Authorizer:
    """Reads the store at each question: bindings are few, and nothing can be stale."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def authorize(self, user: User, wanted: Attributes) -> Decision:
        """The first binding that allows it."""
        if MASTERS in user.groups:
            return Decision(True)
        problems = _Problems()
        for grant in self._grants(user, wanted.namespace, problems):
            if rule_allows(grant.rule, wanted):
                return Decision(True, _describe(grant))
        return Decision(False, "RBAC: [" + ", ".join(problems.texts) + "]" if problems.texts else "")

    def list_rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules of a user in a namespace and cluster-wide, and what could not be read."""
        problems = _Problems()
        rules: list[Rule] = [grant.rule for grant in self._grants(user, namespace, problems)]
        if MASTERS in user.groups and not rules:
            rules = list(EVERYTHING)
        return rules, problems.texts

    def find_role_rules(self, ref: Obj, namespace: str) -> list[Rule]:
        """The rules that a ``roleRef`` stands for.  Raises ApiError (404)."""
        cluster = ref.get("kind") != "Role"
        resource, name = "clusterroles" if cluster else "roles", str(ref.get("name") or "")
        role = self._store.find(ObjectKey(f"{resource}.{GROUP}", "" if cluster else namespace, name))
        if role is None:
            raise errors.not_found(resource, name, GROUP)
        return list(role.get("rules") or ())

    def _grants(self, user: User, namespace: str, problems: _Problems) -> Iterator[Grant]:
        yield from self._grants_of(user, self._store.list(f"clusterrolebindings.{GROUP}")[0], "", problems)
        if namespace:
            bindings = self._store.list(f"rolebindings.{GROUP}", namespace)[0]
            yield from self._grants_of(user, bindings, namespace, problems)

    def _grants_of(self, user: User, bindings: list[Any], namespace: str, problems: _Problems) -> Iterator[Grant]:
        for binding in bindings:
            subject = next(
                (
                    each
                    for each in binding.get("subjects") or ()
                    if subject_matches(each, user.name, user.groups, namespace)
                ),
                None,
            )
            if subject is None:
                continue
            try:
                rules = self.find_role_rules(binding.get("roleRef") or {}, namespace)
            except ApiError as error:
                problems.texts.append(error.message)
                continue
            for rule in rules:
                yield Grant(rule, binding, subject)


def _describe(grant: Grant) -> str:
    """``RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to User "z"``."""
    metadata, ref, subject = grant.binding["metadata"], grant.binding["roleRef"], grant.subject
    namespace = metadata.get("namespace", "")
    kind, place = "ClusterRoleBinding", metadata["name"]
    if namespace:
        kind, place = "RoleBinding", f"{metadata['name']}/{namespace}"
    name = subject["name"]
    if subject["kind"] == "ServiceAccount":
        name = f"{name}/{subject.get('namespace') or namespace}"
    return f'RBAC: allowed by {kind} "{place}" of {ref["kind"]} "{ref["name"]}" to {subject["kind"]} "{name}"'


def build_attributes(call: Call) -> Attributes:
    """What a request needs to be allowed."""
    route = call.route
    if route.kind is None:
        return Attributes(verb=call.request.method.lower(), path=call.request.path)
    kind, verb, namespace = route.kind, route.verb, call.namespace
    if verb == "list" and call.flag("watch"):
        verb = "watch"
    name = call.name
    if not name and verb in ("list", "watch", "deletecollection"):
        name = _name_of_selector(call.text("fieldSelector"))
    if kind.plural == "namespaces" and not kind.group and name:
        # So that a role in a namespace can allow to read the namespace itself.
        namespace = name
    needed = Attributes(
        verb=verb,
        namespace=namespace,
        group=kind.group,
        resource=kind.plural,
        subresource=route.subresource,
        name=name,
    )
    if verb == "get" and kind.plural == "pods" and route.subresource in _STREAMS:
        return replace(needed, verb=_WEBSOCKET_VERB)
    return needed


def check_access(authorizer: Authorizer, call: Call) -> None:
    """Raises ApiError: 401 for the anonymous, 403 for those without the right."""
    access = call.route.access
    if access is Access.PUBLIC:
        return
    if call.user == ANONYMOUS:
        raise errors.unauthorized()
    wanted = build_attributes(call)
    decision = authorizer.authorize(call.user, wanted)
    if not decision.allowed:
        raise refuse(call.user, wanted, decision.reason)


def check_create_access(authorizer: Authorizer, user: User, written: Attributes) -> None:
    """Of an update or a patch that makes the object: ``written`` is what it was allowed.  Raises ApiError (403)."""
    wanted = replace(written, verb="create")
    decision = authorizer.authorize(user, wanted)
    if not decision.allowed:
        raise refuse(user, wanted, decision.reason)


def refuse(user: User, wanted: Attributes, reason: str = "") -> ApiError:
    """403 in Kubernetes' words."""
    detail = wanted.describe(user.name) + (f": {reason}" if reason else "")
    return errors.forbidden(wanted.resource, wanted.name, detail, wanted.group)


def _name_of_selector(selector: str) -> str:
    """``metadata.name=x`` alone names one object."""
    key, equals, value = selector.replace("==", "=").partition("=")
    return value if equals and key == "metadata.name" and "," not in value else ""
