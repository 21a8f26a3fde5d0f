"""Roles and bindings (``k8s.io/kubernetes/pkg/apis/rbac/validation``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.rbac import GROUP
from podhost.api.validation.metadata import invalid_all, validate_label_selector

_SUBJECT_KINDS = ("ServiceAccount", "User", "Group")
_ROLE_REF, _SUBJECTS = Path("roleRef"), Path("subjects")


def validate_role(role: Object) -> list[FieldError]:
    return _validate_rules(role, namespaced=True)


def validate_role_update(new: Object, _old: Object) -> list[FieldError]:
    return validate_role(new)


def validate_cluster_role(role: Object) -> list[FieldError]:
    errors = _validate_rules(role, namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is not None:
        path = Path("aggregationRule").child("clusterRoleSelectors")
        selectors = aggregation.get("clusterRoleSelectors") or ()
        if not selectors:
            errors.append(path.required("at least one clusterRoleSelector required if aggregationRule is non-nil"))
        for index, selector in enumerate(selectors):
            errors += validate_label_selector(selector, path.index(index))
    return errors


def validate_cluster_role_update(new: Object, _old: Object) -> list[FieldError]:
    return validate_cluster_role(new)


def validate_role_binding(binding: Object) -> list[FieldError]:
    return _validate_binding(binding, namespaced=True)


def validate_cluster_role_binding(binding: Object) -> list[FieldError]:
    return _validate_binding(binding, namespaced=False)


def validate_role_binding_update(new: Object, old: Object) -> list[FieldError]:
    return validate_role_binding(new) + _same_role(new, old)


def validate_cluster_role_binding_update(new: Object, old: Object) -> list[FieldError]:
    return validate_cluster_role_binding(new) + _same_role(new, old)


def default_binding(binding: Object) -> None:
    """``apiGroup`` of the role and of users and groups."""
    role = binding.get("roleRef")
    if isinstance(role, dict) and not role.get("apiGroup"):
        role["apiGroup"] = GROUP
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def _validate_rules(role: Object, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(role.get("rules") or ()):
        errors += _validate_rule(rule, Path("rules").index(index), namespaced=namespaced)
    return errors


def _validate_rule(rule: Mapping[str, Any], path: Path, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.get("verbs"):
        errors.append(path.child("verbs").required("verbs must contain at least one value"))
    if urls := rule.get("nonResourceURLs"):
        at = path.child("nonResourceURLs")
        if namespaced:
            errors.append(at.invalid(urls, "namespaced rules cannot apply to non-resource URLs"))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            errors.append(at.invalid(urls, "rules cannot apply to both regular resources and non-resource URLs"))
        return errors
    if not rule.get("apiGroups"):
        errors.append(path.child("apiGroups").required("resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(path.child("resources").required("resource rules must supply at least one resource"))
    return errors


def _validate_binding(binding: Object, *, namespaced: bool) -> list[FieldError]:
    role = binding.get("roleRef") or {}
    errors: list[FieldError] = []
    if role.get("apiGroup") != GROUP:
        errors.append(_ROLE_REF.child("apiGroup").not_supported(role.get("apiGroup") or "", (GROUP,)))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if role.get("kind") not in kinds:
        errors.append(_ROLE_REF.child("kind").not_supported(role.get("kind") or "", kinds))
    name = role.get("name") or ""
    at = _ROLE_REF.child("name")
    errors += invalid_all(at, name, names.check_path_segment(name)) if name else [at.required()]
    for index, subject in enumerate(binding.get("subjects") or ()):
        errors += _validate_subject(subject, _SUBJECTS.index(index), namespaced=namespaced)
    return errors


def _validate_subject(subject: Mapping[str, Any], path: Path, *, namespaced: bool) -> list[FieldError]:
    name, group = subject.get("name") or "", subject.get("apiGroup") or ""
    errors: list[FieldError] = [] if name else [path.child("name").required()]
    match subject.get("kind"):
        case "ServiceAccount":
            if name:
                errors += invalid_all(path.child("name"), name, names.check_dns_subdomain(name))
            if group:
                errors.append(path.child("apiGroup").not_supported(group, ("",)))
            if not namespaced and not subject.get("namespace"):
                errors.append(path.child("namespace").required())
        case "User" | "Group":
            if group != GROUP:
                errors.append(path.child("apiGroup").not_supported(group, (GROUP,)))
        case kind:
            errors.append(path.child("kind").not_supported(kind or "", _SUBJECT_KINDS))
    return errors


def _same_role(new: Object, old: Object) -> list[FieldError]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    role = new.get("roleRef") or {}
    # As Go prints its internal struct.
    shown = {name: role.get(name[0].lower() + name[1:]) or "" for name in ("APIGroup", "Kind", "Name")}
    return [_ROLE_REF.invalid(shown | {"APIGroup": role.get("apiGroup") or ""}, "cannot change roleRef")]
