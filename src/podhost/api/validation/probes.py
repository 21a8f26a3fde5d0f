"""Probes and lifecycle hooks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.validation.metadata import invalid_all, not_negative

_SCHEMES = frozenset({"HTTP", "HTTPS"})
_PROTOCOLS = frozenset({"HTTP1", "HTTP2"})
_GRPC_MODES = frozenset({"Plaintext", "TLS"})
_HEADER = "[-A-Za-z0-9]+"
_HEADER_RE = re.compile(_HEADER, re.ASCII)
_HEADER_ERROR = names.regex_message(
    "a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name"
)
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def validate_port(port: Any, path: Path) -> list[FieldError]:
    """A port by number or by name."""
    if isinstance(port, str):
        return invalid_all(path, port, names.check_port_name(port))
    return invalid_all(path, port or 0, names.check_port_number(port or 0))


def _validate_http_get(action: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = [] if action.get("path") else [path.child("path").required()]
    errors += validate_port(action.get("port"), path.child("port"))
    if (action.get("scheme") or "") not in _SCHEMES:
        errors.append(path.child("scheme").not_supported(action.get("scheme") or "", _SCHEMES))
    if action.get("protocol") is not None and action["protocol"] not in _PROTOCOLS:
        errors.append(path.child("protocol").not_supported(action["protocol"], _PROTOCOLS))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        if not _HEADER_RE.fullmatch(name):
            errors.append(path.child("httpHeaders").invalid(name, _HEADER_ERROR))
    return errors


def _validate_action(kind: str, action: Mapping[str, Any], grace_s: int | None, path: Path) -> list[FieldError]:
    if kind == "exec":
        return [] if action.get("command") else [path.child("command").required()]
    if kind == "httpGet":
        return _validate_http_get(action, path)
    if kind == "sleep":
        seconds = action.get("seconds") or 0
        if grace_s is not None and not 0 <= seconds <= grace_s:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
            return [path.invalid(seconds, detail)]
        return []
    errors = validate_port(action.get("port"), path.child("port"))
    mode = action.get("mode") if kind == "grpc" else None
    return (
        errors
        if mode is None or mode in _GRPC_MODES
        else [*errors, path.child("mode").not_supported(mode, _GRPC_MODES)]
    )


def validate_handler(handler: Mapping[str, Any], grace_s: int | None, path: Path) -> list[FieldError]:
    """Exactly one way to probe or to call a hook."""
    errors: list[FieldError] = []
    kinds = [kind for kind in _HANDLERS if handler.get(kind) is not None]
    for number, kind in enumerate(kinds):
        if number:
            errors.append(path.child(kind).forbidden("may not specify more than 1 handler type"))
        else:
            errors += _validate_action(kind, handler[kind], grace_s, path.child(kind))
    return errors or ([] if kinds else [path.required("must specify a handler type")])


def validate_probe(probe: Mapping[str, Any] | None, kind: str, grace_s: int | None, path: Path) -> list[FieldError]:
    """``kind`` is ``livenessProbe``, ``readinessProbe`` or ``startupProbe``."""
    if probe is None:
        return []
    errors = validate_handler(probe, grace_s, path)
    for name in _NUMBERS:
        errors += not_negative(path.child(name), probe.get(name))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errors.append(path.child("terminationGracePeriodSeconds").invalid(grace, "must be greater than 0"))
    if kind == "readinessProbe":
        if grace is not None:
            detail = "must not be set for readinessProbes"
            errors.append(path.child("terminationGracePeriodSeconds").invalid(grace, detail))
    elif probe.get("successThreshold") != 1:
        errors.append(path.child("successThreshold").invalid(probe.get("successThreshold") or 0, "must be 1"))
    return errors


def validate_lifecycle(container: Mapping[str, Any], grace_s: int | None, path: Path) -> list[FieldError]:
    """Hooks and probes of a container that may have them."""
    errors: list[FieldError] = []
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            errors += validate_handler(lifecycle[hook], grace_s, path.child("lifecycle", hook))
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(kind) is not None:
            errors += validate_probe(container[kind], kind, grace_s, path.child(kind))
    return errors
