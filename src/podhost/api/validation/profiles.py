"""Profiles of AppArmor and seccomp: the fields, and the annotations that were there before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from podhost.api.field_errors import FieldError, Path, go_quote
from podhost.api.objects import all_containers, section
from podhost.api.profile_annotations import (
    APPARMOR_PREFIX,
    LOCALHOST_PREFIX,
    SECCOMP_POD,
    SECCOMP_PREFIX,
)
from podhost.api.validation.paths import validate_descending_path

_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_ANNOTATIONS = {"RuntimeDefault": ("runtime/default",), "Unconfined": ("unconfined",)}
_SECCOMP_ANNOTATIONS = _ANNOTATIONS | {"RuntimeDefault": ("runtime/default", "docker/default")}
_MAX_NAME = 4095


def validate_seccomp_profile(profile: Mapping[str, Any] | None, path: Path) -> list[FieldError]:
    """``seccompProfile`` of a pod or a container.  ``path`` is its own."""
    if profile is None:
        return []
    kind, local, at = profile.get("type") or "", profile.get("localhostProfile"), path.child("localhostProfile")
    errors = []
    if not kind:
        errors.append(path.child("type").required("type is required when seccompProfile is set"))
    elif kind not in _TYPES:
        errors.append(path.child("type").not_supported(kind, _TYPES))
    if kind == "Localhost":
        if local is None:
            errors.append(at.required("must be set when seccomp type is Localhost"))
        else:
            errors += validate_descending_path(local, at)
    elif local is not None:
        errors.append(at.invalid(dict(profile), "can only be set when seccomp type is Localhost"))
    return errors


def validate_apparmor_profile(profile: Mapping[str, Any] | None, path: Path) -> list[FieldError]:
    """``appArmorProfile`` of a pod or a container.  ``path`` is its own."""
    if profile is None:
        return []
    kind, local, at = profile.get("type") or "", profile.get("localhostProfile"), path.child("localhostProfile")
    if not kind:
        return [path.child("type").required("type is required when appArmorProfile is set")]
    if kind not in _TYPES:
        return [path.child("type").not_supported(kind, _TYPES)]
    if kind == "Localhost":
        return _validate_apparmor_name(local, at)
    return [] if local is None else [at.invalid(local, "can only be set when AppArmor type is Localhost")]


def _validate_apparmor_name(name: str | None, path: Path) -> list[FieldError]:
    errors = []
    if name is not None and name != name.strip():
        errors.append(path.invalid(name, "must not be padded with whitespace"))
    elif not name:
        errors.append(path.required("must be set when AppArmor type is Localhost"))
    if name is not None and len(name.encode()) > _MAX_NAME:
        errors.append(path.too_long(_MAX_NAME))
    return errors


def validate_profile_annotations(
    annotations: Mapping[str, str], spec: Mapping[str, Any], path: Path
) -> list[FieldError]:
    """Annotations of a pod or a template.  ``path`` is theirs."""
    errors = _validate_seccomp_annotations(annotations, path)
    names = {container.get("name") for _, _, container in all_containers(spec)}
    for key, value in annotations.items():
        name = key.removeprefix(APPARMOR_PREFIX)
        if name == key:
            continue
        if name not in names:
            errors.append(path.key(key).invalid(name, "container not found"))
        if value not in ("", "runtime/default", "unconfined") and not value.startswith(LOCALHOST_PREFIX):
            errors.append(path.key(key).invalid(value, f"invalid AppArmor profile name: {go_quote(value)}"))
    return errors


def _validate_seccomp_annotations(annotations: Mapping[str, str], path: Path) -> list[FieldError]:
    errors = []
    for key, value in annotations.items():
        if key != SECCOMP_POD and not key.startswith(SECCOMP_PREFIX):
            continue
        if value.startswith(LOCALHOST_PREFIX):
            errors += validate_descending_path(value.removeprefix(LOCALHOST_PREFIX), path.child(key))
        elif value not in ("runtime/default", "docker/default", "unconfined"):
            errors.append(path.child(key).invalid(value, "must be a valid seccomp profile"))
    return errors


def validate_profiles_match(annotations: Mapping[str, str], spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    """Where an annotation and a field speak of one profile, they must say the same.  ``path`` is the spec's."""
    shared = section(spec, "securityContext")
    errors = list(
        _compare("seccomp", annotations.get(SECCOMP_POD), shared.get("seccompProfile"), path.child("securityContext"))
    )
    for group, index, container in all_containers(spec):
        own, at = section(container, "securityContext"), path.child(group).index(index).child("securityContext")
        name = container.get("name")
        errors += _compare("seccomp", annotations.get(f"{SECCOMP_PREFIX}{name}"), own.get("seccompProfile"), at)
    if section(spec, "os").get("name") == "windows":
        return errors
    for group, index, container in all_containers(spec):
        own, at = section(container, "securityContext"), path.child(group).index(index).child("securityContext")
        profile = own.get("appArmorProfile") or shared.get("appArmorProfile")
        errors += _compare("apparmor", annotations.get(f"{APPARMOR_PREFIX}{container.get('name')}"), profile, at)
    return errors


def _compare(word: str, annotation: str | None, profile: Mapping[str, Any] | None, path: Path) -> Iterator[FieldError]:
    if annotation is None or not profile:
        return
    at = path.child("seccompProfile" if word == "seccomp" else "appArmorProfile")
    kind = profile.get("type")
    allowed = (_SECCOMP_ANNOTATIONS if word == "seccomp" else _ANNOTATIONS).get(str(kind))
    if kind == "Localhost":
        if not annotation.startswith(LOCALHOST_PREFIX):
            yield at.child("type").forbidden(f"{word} type in annotation and field must match")
        elif annotation.removeprefix(LOCALHOST_PREFIX) != profile.get("localhostProfile"):
            yield at.child("localhostProfile").forbidden(f"{word} profile in annotation and field must match")
    elif allowed is not None and annotation not in allowed:
        yield at.child("type").forbidden(f"{word} type in annotation and field must match")
