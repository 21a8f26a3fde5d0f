"""Affinity, tolerations, gates and spread.  One node runs everything, but what is wrong is still said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.validation.metadata import invalid_all, one_of, validate_label_selector

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_UNSATISFIABLE = frozenset({"DoNotSchedule", "ScheduleAnyway"})


def validate_scheduling(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if affinity := spec.get("affinity"):
        errors += _validate_affinity(affinity, path.child("affinity"))
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        at = path.child("readinessGates").index(index).child("conditionType")
        errors += invalid_all(at, kind, names.check_qualified_name(kind))
    errors += _validate_gates(spec, path.child("schedulingGates"))
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        errors += _validate_spread(constraint, path.child("topologySpreadConstraints").index(index))
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        errors += validate_toleration(toleration, path.child("tolerations").index(index))
    if spec.get("preemptionPolicy") is not None:
        errors += one_of(path.child("preemptionPolicy"), spec["preemptionPolicy"], _PREEMPTION)
    return errors


def _validate_gates(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name") or ""
        errors += invalid_all(path.index(index), name, names.check_qualified_name(name))
        if name in seen:
            errors.append(path.index(index).duplicate(name))
        seen.add(name)
    return errors


def _validate_spread(constraint: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = []
    skew = constraint.get("maxSkew") or 0
    if skew <= 0:
        errors.append(path.child("maxSkew").invalid(skew, "must be greater than zero"))
    if not constraint.get("topologyKey"):
        errors.append(path.child("topologyKey").required("can not be empty"))
    action = constraint.get("whenUnsatisfiable") or ""
    if action not in _UNSATISFIABLE:
        errors.append(path.child("whenUnsatisfiable").not_supported(action, _UNSATISFIABLE))
    return errors + validate_label_selector(constraint.get("labelSelector") or {}, path.child("labelSelector"))


def validate_toleration(toleration: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    if key:
        errors += invalid_all(path.child("key"), key, names.check_qualified_name(key))
    elif operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(path.child("operator").invalid(operator, detail))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(path.child("effect").invalid(effect, detail))
    if operator in ("", "Equal"):
        if messages := names.check_label_value(value):
            errors.append(path.child("operator").invalid(value, ";".join(messages)))
    elif operator == "Exists":
        if value:
            detail = "value must be empty when `operator` is 'Exists'"
            errors.append(path.child("operator").invalid(dict(toleration), detail))
    elif operator not in ("Lt", "Gt"):
        errors.append(path.child("operator").not_supported(operator, ("Equal", "Exists", "Lt", "Gt")))
    if effect and effect not in _EFFECTS:
        errors.append(path.child("effect").not_supported(effect, _EFFECTS))
    return errors


def _validate_affinity(affinity: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if (node := affinity.get("nodeAffinity")) is not None:
        errors += _validate_node_affinity(node, path.child("nodeAffinity"))
    for name in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(name) or {}
        at = path.child(name)
        for index, term in enumerate(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            errors += _validate_pod_term(term, at.child("requiredDuringSchedulingIgnoredDuringExecution").index(index))
        for index, weighted in enumerate(terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            where = at.child("preferredDuringSchedulingIgnoredDuringExecution").index(index)
            errors += _validate_weight(weighted, where)
            errors += _validate_pod_term(weighted.get("podAffinityTerm") or {}, where.child("podAffinityTerm"))
    return errors


def _validate_weight(weighted: Mapping[str, Any], path: Path) -> list[FieldError]:
    weight = weighted.get("weight") or 0
    return [] if 1 <= weight <= 100 else [path.child("weight").invalid(weight, "must be in the range 1-100")]


def _validate_pod_term(term: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = validate_label_selector(term.get("labelSelector") or {}, path.child("labelSelector"))
    for namespace in term.get("namespaces") or ():
        errors += invalid_all(path.child("namespace"), namespace, names.check_dns_label(namespace))
    if not term.get("topologyKey"):
        errors.append(path.child("topologyKey").required("can not be empty"))
    return errors


def _validate_node_affinity(node: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None:
        errors += validate_node_selector(required, path.child("requiredDuringSchedulingIgnoredDuringExecution"))
    for index, preferred in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        at = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index)
        errors += _validate_weight(preferred, at)
        errors += _validate_node_term(preferred.get("preference") or {}, at.child("preference"))
    return errors


def validate_node_selector(selector: Mapping[str, Any], path: Path) -> list[FieldError]:
    at = path.child("nodeSelectorTerms")
    terms = selector.get("nodeSelectorTerms") or ()
    errors = [] if terms else [at.required("must have at least one node selector term")]
    for index, term in enumerate(terms):
        errors += _validate_node_term(term, at.index(index))
    return errors


def _validate_node_term(term: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(term.get("matchExpressions") or ()):
        at = path.child("matchExpressions").index(index)
        operator, values = rule.get("operator") or "", rule.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                errors.append(at.child("values").required("must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(at.child("values").forbidden(detail))
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                errors.append(at.child("values").required(detail))
        else:
            errors.append(at.child("operator").invalid(operator, "not a valid selector operator"))
        key = rule.get("key") or ""
        errors += invalid_all(at.child("key"), key, names.check_qualified_name(key))
    for index, rule in enumerate(term.get("matchFields") or ()):
        errors += _validate_field_rule(rule, path.child("matchFields").index(index))
    return errors


def _validate_field_rule(rule: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    key, operator, values = rule.get("key") or "", rule.get("operator") or "", rule.get("values") or ()
    if operator not in ("In", "NotIn"):
        errors.append(path.child("operator").invalid(operator, "not a valid selector operator"))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(path.child("values").required(detail))
    if key != "metadata.name":
        return [*errors, path.child("key").invalid(key, "not a valid field selector key")]
    for index, value in enumerate(values):
        errors += invalid_all(path.child("values").index(index), value, names.check_dns_subdomain(value))
    return errors
