"""Resource requests and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.quantity import canonical, parse_quantity
from podhost.api.validation.metadata import NOT_NEGATIVE, invalid_all

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_POD_LEVEL = frozenset({"cpu", "memory"})
_HUGE_PAGES = "hugepages-"
_INTEGER = "must be an integer"


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _allows_overcommit(name: str) -> bool:
    return _is_native(name) and not name.startswith(_HUGE_PAGES)


def _validate_name(name: str, path: Path) -> list[FieldError]:
    errors = invalid_all(path, name, names.check_qualified_name(name))
    if errors:
        return errors
    if "/" not in name and name not in _STANDARD and not name.startswith(_HUGE_PAGES):
        # Kubernetes reports both for a bare word.
        errors.append(path.invalid(name, "must be a standard resource type or fully qualified"))
        errors.append(path.invalid(name, "must be a standard resource for containers"))
    elif _is_native(name) and name not in _STANDARD and not name.startswith(_HUGE_PAGES):
        errors.append(path.invalid(name, "must be a standard resource for containers"))
    return errors


def _validate_amount(name: str, amount: Fraction, shown: str, path: Path) -> list[FieldError]:
    errors = [path.invalid(shown, NOT_NEGATIVE)] if amount < 0 else []
    if "/" in name and not _is_native(name) and amount.denominator != 1:
        errors.append(path.invalid(shown, _INTEGER))
    return errors


def validate_resources(
    resources: Mapping[str, Any], path: Path, claim_names: Iterable[str] = (), *, pod_level: bool = False
) -> list[FieldError]:
    """A container's (or a pod's) ``resources``."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if not limits and not requests and not resources.get("claims"):
        return []
    errors: list[FieldError] = []
    for name, value in limits.items():
        errors += _validate_entry(name, value, path.child("limits"), pod_level)
    for name, value in requests.items():
        errors += _validate_entry(name, value, path.child("requests"), pod_level)
        errors += _validate_against_limit(name, value, limits.get(name), path.child("requests"))
    errors += _validate_overcommit(limits, requests, path)
    return errors + _validate_claims(resources.get("claims") or (), set(claim_names), path.child("claims"))


def _validate_entry(name: str, value: Any, path: Path, pod_level: bool) -> list[FieldError]:
    if pod_level and name not in _POD_LEVEL and not name.startswith(_HUGE_PAGES):
        return [path.key(name).not_supported(name, _POD_LEVEL)]
    return _validate_name(name, path) + _validate_amount(name, parse_quantity(value), canonical(value), path.key(name))


def _validate_against_limit(name: str, value: Any, limit: Any, path: Path) -> list[FieldError]:
    if limit is None:
        return []
    amount, maximum = parse_quantity(value), parse_quantity(limit)
    if amount != maximum and not _allows_overcommit(name):
        return [path.invalid(canonical(value), f"must be equal to {name} limit of {canonical(limit)}")]
    if amount > maximum:
        return [path.invalid(canonical(value), f"must be less than or equal to {name} limit of {canonical(limit)}")]
    return []


def _validate_overcommit(limits: Mapping[str, Any], requests: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [
        path.child("limits").required("Limit must be set for non overcommitable resources")
        for name in requests
        if name not in limits and not _allows_overcommit(name)
    ]
    huge = any(name.startswith(_HUGE_PAGES) for name in (*limits, *requests))
    if huge and not _POD_LEVEL & {*limits, *requests}:
        errors.append(path.forbidden("HugePages require cpu or memory"))
    return errors


def _validate_claims(claims: Iterable[Mapping[str, Any]], known: set[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, claim in enumerate(claims):
        name, request = claim.get("name") or "", claim.get("request") or ""
        at = path.index(index)
        if not name:
            errors.append(at.child("name").required())
        elif (name, request) in seen:
            errors.append(at.duplicate(f"{name}/{request}" if request else name))
        elif name not in known:
            errors.append(at.child("name").not_found(name))
        seen.add((name, request))
    return errors
