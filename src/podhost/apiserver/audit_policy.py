"""Which requests are audited, and how much of them: kube-apiserver's ``--audit-policy-file``.  Pure.

The first rule that a request meets decides; what meets none is not audited.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
import yaml

from podhost.api.rbac import Attributes
from podhost.errors import InvalidError

_STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class Level(IntEnum):
    """How much of a request is written; each has what those before it have."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    RESPONSE = 3


_LEVELS = {
    "None": Level.NONE,
    "Metadata": Level.METADATA,
    "Request": Level.REQUEST,
    "RequestResponse": Level.RESPONSE,
}
LEVEL_NAMES = {level: name for name, level in _LEVELS.items()}


class GroupResources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Resources of one group; without any, all of them."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is empty holds for every request."""

    level: str
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    api_version: str
    kind: str
    rules: tuple[Rule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False
    metadata: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Decision:
    """About one request."""

    level: Level
    omitted_stages: frozenset[str] = frozenset()
    omits_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """Rules, in their order."""

    rules: tuple[tuple[Rule, Decision], ...]

    def decide(self, wanted: Attributes, user: str, groups: Collection[str]) -> Decision:
        """``user`` and ``groups`` are who made the request, before impersonation."""
        for rule, decision in self.rules:
            if _meets(rule, wanted, user, groups):
                return decision
        return Decision(Level.NONE)


EVERYTHING = AuditPolicy(((Rule(level="Metadata"), Decision(Level.METADATA)),))
"""Without a policy file: the metadata of every request."""


def parse_policy(text: str) -> AuditPolicy:
    """Raises InvalidError: it is no ``audit.k8s.io/v1`` Policy."""
    try:
        document = msgspec.convert(yaml.load(text, Loader=yaml.CSafeLoader), _Document)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise InvalidError(f"it is not an audit policy: {error}") from error
    if (document.api_version, document.kind) != ("audit.k8s.io/v1", "Policy"):
        raise InvalidError(f"it is not an audit policy, but {document.kind} of {document.api_version}")
    if not document.rules:
        raise InvalidError("loaded illegal policy with 0 rules")
    for number, rule in enumerate(document.rules):
        _check(rule, document.omit_stages, f"rules[{number}]")
    return AuditPolicy(tuple((rule, _decision(rule, document)) for rule in document.rules))


def _check(rule: Rule, omitted: tuple[str, ...], place: str) -> None:
    if rule.level not in _LEVELS:
        raise InvalidError(f'{place}.level: "{rule.level}" is none of {", ".join(_LEVELS)}')
    if rule.non_resource_urls and (rule.resources or rule.namespaces):
        raise InvalidError(
            f"{place}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
        )
    for stage in (*omitted, *rule.omit_stages):
        if stage not in _STAGES:
            raise InvalidError(f'{place}.omitStages: "{stage}" is none of {", ".join(_STAGES)}')


def _decision(rule: Rule, document: _Document) -> Decision:
    omits = document.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
    return Decision(_LEVELS[rule.level], frozenset({*document.omit_stages, *rule.omit_stages}), omits)


def _meets(rule: Rule, wanted: Attributes, user: str, groups: Collection[str]) -> bool:
    if rule.users and user not in rule.users:
        return False
    if rule.user_groups and not set(rule.user_groups) & set(groups):
        return False
    if rule.verbs and wanted.verb not in rule.verbs:
        return False
    if rule.resources or rule.namespaces:
        return bool(wanted.resource) and _meets_resource(rule, wanted)
    if rule.non_resource_urls:
        return not wanted.resource and any(_meets_path(spec, wanted.path) for spec in rule.non_resource_urls)
    return True


def _meets_resource(rule: Rule, wanted: Attributes) -> bool:
    if rule.namespaces and wanted.namespace not in rule.namespaces:
        return False
    if not rule.resources:
        return True
    combined = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    forms = {combined, "*"}
    if wanted.subresource:
        forms |= {f"{wanted.resource}/*", f"*/{wanted.subresource}"}
    return any(
        each.group == wanted.group
        and (not each.resources or bool(forms & set(each.resources)))
        and (not each.resource_names or wanted.name in each.resource_names)
        for each in rule.resources
    )


def _meets_path(spec: str, path: str) -> bool:
    return spec in ("*", path) or (spec.endswith("*") and path.startswith(spec.removesuffix("*")))
