"""RuntimeClasses of node.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.metadata import immutable, invalid_all, validate_labels
from podhost.api.validation.resources import validate_resources
from podhost.api.validation.scheduling import validate_toleration

_HANDLER = Path("handler")


def validate_runtime_class(runtime_class: Object) -> list[FieldError]:
    handler = runtime_class.get("handler") or ""
    errors = invalid_all(_HANDLER, handler, names.check_dns_label(handler))
    if (overhead := runtime_class.get("overhead")) is not None:
        errors += validate_resources({"limits": overhead.get("podFixed") or {}}, Path("overhead"))
    scheduling = runtime_class.get("scheduling") or {}
    if selector := scheduling.get("nodeSelector"):
        errors += validate_labels(selector, Path("scheduling").child("nodeSelector"))
    tolerations = scheduling.get("tolerations") or ()
    path = Path("scheduling").child("tolerations")
    for index, toleration in enumerate(tolerations):
        errors += validate_toleration(toleration, path.index(index))
    seen: set[tuple[str, ...]] = set()
    for index, toleration in enumerate(tolerations):
        key = tuple(toleration.get(name) or "" for name in ("key", "operator", "value", "effect"))
        if key in seen:
            errors.append(path.index(index).duplicate(_go_toleration(toleration)))
        seen.add(key)
    return errors


def _go_toleration(toleration: Mapping[str, Any]) -> Object:
    """What Go prints for it: its internal struct as JSON."""
    texts = {name: toleration.get(name.lower()) or "" for name in ("Key", "Operator", "Value", "Effect")}
    return texts | {"TolerationSeconds": toleration.get("tolerationSeconds")}


def validate_runtime_class_update(new: Object, old: Object) -> list[FieldError]:
    return validate_runtime_class(new) + immutable(_HANDLER, new.get("handler"), old.get("handler"))
