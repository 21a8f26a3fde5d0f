"""Security contexts of pods and containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podhost.api.field_errors import FieldError, Path
from podhost.api.validation.metadata import in_range
from podhost.api.validation.profiles import validate_apparmor_profile, validate_seccomp_profile

_MAX_ID = 2**31 - 1
_FS_GROUP_POLICIES = frozenset({"Always", "OnRootMismatch"})
_SUPPLEMENTAL_POLICIES = frozenset({"Merge", "Strict"})
_SELINUX_POLICIES = frozenset({"MountOption", "Recursive"})
_PROC_MOUNTS = frozenset({"Default", "Unmasked"})
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}"
_SYSCTL_RE = re.compile(_SYSCTL, re.ASCII)
_SYSCTL_MAX = 253


def _validate_ids(context: Mapping[str, Any], path: Path, names: tuple[str, ...]) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in names:
        if context.get(name) is not None:
            errors += in_range(path.child(name), context[name], 0, _MAX_ID)
    return errors


def _validate_choice(context: Mapping[str, Any], path: Path, name: str, supported: frozenset[str]) -> list[FieldError]:
    value = context.get(name)
    return [] if value is None or value in supported else [path.child(name).not_supported(value, supported)]


def validate_pod_security(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    """``spec.securityContext``.  ``path`` is its own."""
    context = spec.get("securityContext") or {}
    errors = _validate_ids(context, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        errors += in_range(path.child("supplementalGroups").index(index), group, 0, _MAX_ID)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(path.child("shareProcessNamespace").invalid(True, detail))
    errors += _validate_sysctls(spec, context, path.child("sysctls"))
    errors += _validate_choice(context, path, "fsGroupChangePolicy", _FS_GROUP_POLICIES)
    errors += validate_seccomp_profile(context.get("seccompProfile"), path.child("seccompProfile"))
    errors += validate_apparmor_profile(context.get("appArmorProfile"), path.child("appArmorProfile"))
    errors += _validate_choice(context, path, "supplementalGroupsPolicy", _SUPPLEMENTAL_POLICIES)
    return errors + _validate_choice(context, path, "seLinuxChangePolicy", _SELINUX_POLICIES)


def _validate_sysctls(spec: Mapping[str, Any], context: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        name, at = sysctl.get("name") or "", path.index(index).child("name")
        if not name:
            errors.append(at.required())
        elif len(name) > _SYSCTL_MAX or not _SYSCTL_RE.fullmatch(name):
            errors.append(at.invalid(name, f"must have at most {_SYSCTL_MAX} characters and match regex ^{_SYSCTL}$"))
        elif name in seen:
            errors.append(at.duplicate(name))
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            errors.append(at.invalid(name, "may not be specified when 'hostNetwork' is true"))
        if spec.get("hostIPC") and dotted.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")):
            errors.append(at.invalid(name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)
    return errors


def validate_container_security(
    context: Mapping[str, Any] | None, path: Path, *, host_users: bool = True
) -> list[FieldError]:
    if not context:
        return []
    errors = _validate_ids(context, path, ("runAsUser", "runAsGroup"))
    proc_mount = context.get("procMount")
    if proc_mount is not None:
        if proc_mount not in _PROC_MOUNTS:
            errors.append(path.child("procMount").not_supported(proc_mount, _PROC_MOUNTS))
        if host_users and proc_mount == "Unmasked":
            detail = "`hostUsers` must be false to use `Unmasked`"
            errors.append(path.child("procMount").invalid(proc_mount, detail))
    errors += validate_seccomp_profile(context.get("seccompProfile"), path.child("seccompProfile"))
    errors += validate_apparmor_profile(context.get("appArmorProfile"), path.child("appArmorProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(path.invalid(dict(context), detail))
        added = (context.get("capabilities") or {}).get("add") or ()
        if "CAP_SYS_ADMIN" in added:
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(path.invalid(dict(context), detail))
    return errors
