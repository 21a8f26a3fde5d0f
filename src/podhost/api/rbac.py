"""Role-based access control: what a rule allows, and whether some rules cover others.  Pure.

After ``k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac`` and ``component-helpers/auth/rbac/validation``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api.selectors import from_label_selector

GROUP = "rbac.authorization.k8s.io"
ALL = "*"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"

Rule = Mapping[str, Any]
"""A ``PolicyRule``."""
Doc = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a request wants to do; ``path`` is set for requests that are not about resources."""

    verb: str
    namespace: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """``pods``, ``pods/log``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def describe(self, user: str) -> str:
        """The words of a refusal."""
        if self.path:
            return f'User "{user}" cannot {self.verb} path "{self.path}"'
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'User "{user}" cannot {self.verb} resource "{self.full_resource}" in API group "{self.group}" {scope}'


def rule_allows(rule: Rule, wanted: Attributes) -> bool:
    """Whether one rule is enough for the request."""
    if not _has(rule, "verbs", wanted.verb):
        return False
    if wanted.path:
        return any(_url_matches(url, wanted.path) for url in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        _has(rule, "apiGroups", wanted.group)
        and any(_resource_matches(each, wanted) for each in rule.get("resources") or ())
        and (not names or wanted.name in names)
    )


def _has(rule: Rule, field: str, value: str) -> bool:
    listed = rule.get(field) or ()
    return ALL in listed or value in listed


def _resource_matches(pattern: str, wanted: Attributes) -> bool:
    if pattern in (ALL, wanted.full_resource):
        return True
    return bool(wanted.subresource) and pattern == f"{ALL}/{wanted.subresource}"


def _url_matches(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


def subject_matches(subject: Doc, user: str, groups: Iterable[str], namespace: str) -> bool:
    """Whether a binding's subject is the user.  ``namespace`` is that of the binding, for a bare ServiceAccount."""
    name = str(subject.get("name") or "")
    match subject.get("kind"):
        case "User":
            return user == name
        case "Group":
            return name in groups
        case "ServiceAccount":
            return user == f"{SERVICE_ACCOUNT_PREFIX}{subject.get('namespace') or namespace}:{name}"
    return False


def find_uncovered(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of ``wanted`` that ``held`` do not include, each about one verb and one thing."""
    owned = list(held)
    return [part for rule in wanted for part in _break_down(rule) if not any(_covers(each, part) for each in owned)]


def _break_down(rule: Rule) -> Iterator[Rule]:
    for url in rule.get("nonResourceURLs") or ():
        for verb in rule.get("verbs") or ():
            yield {"nonResourceURLs": [url], "verbs": [verb]}
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule.get("verbs") or ():
                for names in [[name] for name in rule.get("resourceNames") or ()] or [[]]:
                    part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                    yield part | ({"resourceNames": names} if names else {})


def _covers(held: Rule, part: Rule) -> bool:
    if not _has_all(held, part, "verbs"):
        return False
    if part.get("nonResourceURLs"):
        return any(_url_matches(pattern, part["nonResourceURLs"][0]) for pattern in held.get("nonResourceURLs") or ())
    names, limited = part.get("resourceNames") or (), held.get("resourceNames") or ()
    return (
        _has_all(held, part, "apiGroups")
        and _covers_resource(held.get("resources") or (), part["resources"][0])
        and (not limited or (bool(names) and set(names) <= set(limited)))
    )


def _has_all(held: Rule, part: Rule, field: str) -> bool:
    return all(_has(held, field, value) for value in part[field])


def _covers_resource(patterns: Iterable[str], resource: str) -> bool:
    _, slash, subresource = resource.partition("/")
    listed = set(patterns)
    return bool(listed & {ALL, resource}) or (bool(slash) and f"{ALL}/{subresource}" in listed)


def format_rule(rule: Rule) -> str:
    """As Kubernetes prints a rule in an error: ``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``."""
    fields = (
        ("APIGroups", "apiGroups"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Resources", "resources"),
        ("Verbs", "verbs"),
    )
    shown = [f"{label}:[{' '.join(json.dumps(v) for v in rule[key])}]" for label, key in fields if rule.get(key)]
    return "{" + ", ".join(shown) + "}"


def compute_aggregated_rules(role: Doc, others: Iterable[Doc]) -> list[Rule] | None:
    """The rules of a ClusterRole with an ``aggregationRule``, in the order of the names; ``None`` without one."""
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if selectors is None:
        return None
    chosen = {
        str(other["metadata"]["name"]): other
        for other in others
        for selector in map(from_label_selector, selectors)
        if selector.matches(other["metadata"].get("labels") or {})
        if other["metadata"]["name"] != role["metadata"]["name"]
    }
    rules: list[Rule] = []
    for name in sorted(chosen):
        rules.extend(rule for rule in chosen[name].get("rules") or () if rule not in rules)
    return rules
