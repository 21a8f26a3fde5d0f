"""References to fields of the pod itself: ``fieldRef`` and ``resourceFieldRef``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podhost.api import names, quantity
from podhost.api.field_errors import FieldError, Path
from podhost.api.validation.metadata import invalid_all

ENV_FIELD_PATHS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
_CONVERTIBLE = ENV_FIELD_PATHS | {
    "metadata.annotations",
    "metadata.labels",
    "spec.host",
    "spec.restartPolicy",
    "status.phase",
}
_RESOURCES = frozenset(
    f"{part}.{name}" for part in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_CPU_DIVISORS = frozenset({"1m", "1"})
_BYTE_UNITS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SUBSCRIPT = re.compile(r"([^\[]+)\['(.*)'\]", re.DOTALL)


def split_subscript(path: str) -> tuple[str, str | None]:
    """``metadata.labels['x']`` -> (``metadata.labels``, ``x``)."""
    match = _SUBSCRIPT.fullmatch(path)
    return (match[1], match[2]) if match else (path, None)


def validate_field_ref(ref: Mapping[str, Any], path: Path, supported: frozenset[str]) -> list[FieldError]:
    version, field_path = ref.get("apiVersion") or "", ref.get("fieldPath") or ""
    if not version:
        return [path.child("apiVersion").required()]
    if not field_path:
        return [path.child("fieldPath").required()]
    if version != "v1":
        detail = f"error converting fieldPath: unsupported pod version: {version}"
        return [path.child("fieldPath").invalid(field_path, detail)]
    base, key = split_subscript(field_path)
    if key is not None:
        if base == "metadata.annotations":
            return invalid_all(path, key.lower(), names.check_qualified_name(key.lower()))
        if base == "metadata.labels":
            return invalid_all(path, key, names.check_qualified_name(key))
        detail = f"error converting fieldPath: field label does not support subscript: {base}"
        return [path.child("fieldPath").invalid(field_path, detail)]
    if base not in _CONVERTIBLE:
        detail = f"error converting fieldPath: field label not supported: {base}"
        return [path.child("fieldPath").invalid(field_path, detail)]
    return [] if base in supported else [path.child("fieldPath").not_supported(base, supported)]


def validate_resource_field_ref(ref: Mapping[str, Any], path: Path, *, in_volume: bool) -> list[FieldError]:
    errors = []
    resource = ref.get("resource") or ""
    if in_volume and not ref.get("containerName"):
        errors.append(path.child("containerName").required())
    elif not resource:
        errors.append(path.child("resource").required())
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(path.child("resource").not_supported(resource, _RESOURCES))
    return errors + _validate_divisor(resource, ref.get("divisor"), path.child("divisor"))


def _validate_divisor(resource: str, divisor: Any, path: Path) -> list[FieldError]:
    if divisor is None or quantity.parse_quantity(divisor) == 0:
        return []
    shown = quantity.canonical(divisor)
    if resource in ("limits.cpu", "requests.cpu"):
        detail = "only divisor's values 1m and 1 are supported with the cpu resource"
        return [] if shown in _CPU_DIVISORS else [path.invalid(resource, detail)]
    kind = resource.partition(".")[2]
    words = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}
    word = words.get(kind) or ("hugepages" if kind.startswith("hugepages-") else "")
    if word and shown not in _BYTE_UNITS:
        supported = ", ".join(_BYTE_UNITS)
        return [path.invalid(resource, f"only divisor's values {supported} are supported with the {word} resource")]
    return []
