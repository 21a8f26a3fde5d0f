"""ConfigMaps, Secrets, Events, Leases."""

from __future__ import annotations

import base64
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.go_json import find_object_fault
from podhost.api.validation.metadata import STANDARD_FINALIZERS, immutable, invalid_all

MAX_DATA_BYTES = 1024 * 1024
_ROOT = Path()
_DOCKER_CONFIG_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}
_LEASE_STRATEGIES = ("OldestEmulationVersion",)
_SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def _decoded_size(value: str) -> int:
    """Bytes behind a base64 text, without decoding it."""
    return len(value) * 3 // 4 - value[-2:].count("=")


def validate_config_map(config_map: Object) -> list[FieldError]:
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    errors: list[FieldError] = []
    size = 0
    for key, value in data.items():
        errors += invalid_all(_ROOT.child("data").key(key), key, names.check_config_key(key))
        if key in binary:
            errors.append(_ROOT.child("data").key(key).invalid(key, "duplicate of key present in binaryData"))
        size += len(value.encode(errors="surrogatepass"))
    for key, value in binary.items():
        errors += invalid_all(_ROOT.child("binaryData").key(key), key, names.check_config_key(key))
        size += _decoded_size(value)
    if size > MAX_DATA_BYTES:
        # Kubernetes gives no field here.
        errors.append(_ROOT.too_long(MAX_DATA_BYTES))
    return errors


def _validate_immutable(new: Object, old: Object, fields: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    detail = "field is immutable when `immutable` is set"
    errors = [] if new.get("immutable") else [_ROOT.child("immutable").forbidden(detail)]
    changed = [field for field in fields if (new.get(field) or {}) != (old.get(field) or {})]
    return errors + [_ROOT.child(field).forbidden(detail) for field in changed]


def validate_config_map_update(new: Object, old: Object) -> list[FieldError]:
    return _validate_immutable(new, old, ("data", "binaryData")) + validate_config_map(new)


def validate_secret(secret: Object) -> list[FieldError]:
    data = secret.get("data") or {}
    path = _ROOT.child("data")
    errors: list[FieldError] = []
    for key in data:
        errors += invalid_all(path.key(key), key, names.check_config_key(key))
    if sum(map(_decoded_size, data.values())) > MAX_DATA_BYTES:
        errors.append(path.too_long(MAX_DATA_BYTES))
    return errors + _validate_secret_type(secret, data, path)


def _validate_secret_type(secret: Object, data: dict[str, str], path: Path) -> list[FieldError]:
    kind = secret.get("type")
    if kind == "kubernetes.io/service-account-token":
        annotations = (secret.get("metadata") or {}).get("annotations") or {}
        if not annotations.get(_SERVICE_ACCOUNT_NAME):
            return [Path("metadata").child("annotations").key(_SERVICE_ACCOUNT_NAME).required()]
    if kind in _DOCKER_CONFIG_KEYS:
        return _validate_json(data, _DOCKER_CONFIG_KEYS[kind], path)
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        return [path.key("username").required(), path.key("password").required()]
    if kind == "kubernetes.io/ssh-auth" and not data.get("ssh-privatekey"):
        return [path.key("ssh-privatekey").required()]
    if kind == "kubernetes.io/tls":
        return [path.key(key).required() for key in ("tls.crt", "tls.key") if key not in data]
    return []


def _validate_json(data: dict[str, str], key: str, path: Path) -> list[FieldError]:
    if key not in data:
        return [path.key(key).required()]
    fault = find_object_fault(base64.b64decode(data[key]))
    return [path.key(key).invalid("<secret contents redacted>", fault)] if fault else []


def validate_secret_update(new: Object, old: Object) -> list[FieldError]:
    errors = immutable(_ROOT.child("type"), new.get("type") or "", old.get("type") or "")
    return errors + _validate_immutable(new, old, ("data",)) + validate_secret(new)


def validate_lease(lease: Object) -> list[FieldError]:
    spec: dict[str, Any] = lease.get("spec") or {}
    errors = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errors.append(Path("spec").child("leaseDurationSeconds").invalid(duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        detail = "must be greater than or equal to 0"
        errors.append(Path("spec").child("leaseTransitions").invalid(transitions, detail))
    if strategy := spec.get("strategy"):
        # The path is Kubernetes' own.
        at = Path("spec").child("strategy", "strategy")
        if "/" in strategy:
            errors += invalid_all(at, strategy, names.check_qualified_name(strategy))
        elif strategy not in _LEASE_STRATEGIES:
            errors.append(at.not_supported(strategy, _LEASE_STRATEGIES))
    elif spec.get("preferredHolder"):
        detail = "may only be specified if `strategy` is defined"
        errors.append(Path("spec").child("preferredHolder").forbidden(detail))
    return errors


def validate_lease_update(new: Object, _old: Object) -> list[FieldError]:
    return validate_lease(new)


def validate_namespace(namespace: Object) -> list[FieldError]:
    """Finalizers of the spec have the rules of those in metadata."""
    errors: list[FieldError] = []
    for index, finalizer in enumerate((namespace.get("spec") or {}).get("finalizers") or ()):
        at = Path("spec").child("finalizers").index(index)
        messages = names.check_qualified_name(finalizer)
        errors += invalid_all(at, finalizer, messages)
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            errors.append(at.invalid(finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
    return errors


def validate_namespace_status_update(new: Object, _old: Object) -> list[FieldError]:
    """A phase is what the deletion says."""
    phase = (new.get("status") or {}).get("phase") or ""
    at = Path("status").child("Phase")
    if not (new.get("metadata") or {}).get("deletionTimestamp"):
        return [] if phase == "Active" else [at.invalid(phase, "may only be 'Active' if `deletionTimestamp` is empty")]
    detail = "may only be 'Terminating' if `deletionTimestamp` is not empty"
    return [] if phase == "Terminating" else [at.invalid(phase, detail)]
