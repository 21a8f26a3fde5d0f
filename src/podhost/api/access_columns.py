"""Columns of the kinds that say who may do what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podhost.api.columns import AGE, CREATED_AT, NAME, Column, format_age_of, name_of
from podhost.api.objects import Object

_SUBJECTS = (("Users", "User"), ("Groups", "Group"), ("ServiceAccounts", "ServiceAccount"))

ROLE_COLUMNS = (NAME, CREATED_AT)


def _build_binding_columns(kind: str, field: str) -> tuple[Column, ...]:
    subjects = (Column(title, description=f"{title} in the {kind}", priority=1) for title, _ in _SUBJECTS)
    return (NAME, Column("Role", field=field), AGE, *subjects)


BINDING_COLUMNS = _build_binding_columns("roleBinding", "rbac.v1.RoleBinding.roleRef")
CLUSTER_BINDING_COLUMNS = _build_binding_columns("clusterRoleBinding", "rbac.v1.ClusterRoleBinding.roleRef")


def role_row(role: Object, _now: datetime) -> list[Any]:
    return [name_of(role), (role.get("metadata") or {}).get("creationTimestamp")]


def binding_row(binding: Object, now: datetime) -> list[Any]:
    role = binding.get("roleRef") or {}
    subjects = [_names(binding, kind) for _, kind in _SUBJECTS]
    return [
        name_of(binding),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        format_age_of(binding, now),
        *subjects,
    ]


def _names(binding: Object, kind: str) -> str:
    chosen = [subject for subject in binding.get("subjects") or () if subject.get("kind") == kind]
    if kind == "ServiceAccount":
        return ", ".join(f"{subject.get('namespace', '')}/{subject.get('name', '')}" for subject in chosen)
    return ", ".join(subject.get("name", "") for subject in chosen)
