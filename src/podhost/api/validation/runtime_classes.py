"""RuntimeClasses of node.k8s.io/v1."""

from __future__ import annotations

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
    for index, toleration in enumerate(scheduling.get("tolerations") or ()):
        errors += validate_toleration(toleration, Path("scheduling").child("tolerations").index(index))
    return errors


def validate_runtime_class_update(new: Object, old: Object) -> list[FieldError]:
    return validate_runtime_class(new) + immutable(_HANDLER, new.get("handler"), old.get("handler"))
