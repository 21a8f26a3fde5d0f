"""Events: those in the old style may leave out nearly everything, those in the new style must say who reports what."""

from __future__ import annotations

from podhost.api import names
from podhost.api.event_forms import from_events_v1
from podhost.api.field_errors import FieldError, Path
from podhost.api.objects import Object
from podhost.api.validation.metadata import immutable, invalid_all

_ROOT = Path()
_MAX_CHARACTERS = 128
_MAX_NOTE = 1024
_MIN_SERIES_COUNT = 2
_IMMUTABLE = (
    *("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type"),
    *("eventTime", "action", "related", "reportingController", "reportingInstance"),
)


def validate_event(event: Object) -> list[FieldError]:
    """Old events must agree on their namespace; those with an ``eventTime`` must say who reports what."""
    if event.get("eventTime"):
        return _validate_new_style(event)
    wanted, namespace = _namespaces(event)
    if wanted != namespace and not (not wanted and namespace == "default"):
        return [_namespace_mismatch(wanted)]
    return []


def validate_event_update(new: Object, _old: Object) -> list[FieldError]:
    return validate_event(new)


def validate_event_v1(event: Object) -> list[FieldError]:
    """All rules of the new style.  Paths are those of the stored form, as in Kubernetes."""
    stored = from_events_v1(event)
    errors = validate_event(stored) + _validate_series(stored)
    if not stored.get("eventTime"):
        errors.append(_path("eventTime").required())
    if stored.get("type") not in ("Normal", "Warning"):
        errors.append(_path("type").invalid("", f"has invalid value: {stored.get('type') or ''}"))
    errors += [
        _path(name).invalid("", "needs to be unset")
        for name in ("firstTimestamp", "lastTimestamp", "count")
        if stored.get(name)
    ]
    source = stored.get("source") or {}
    if source.get("component") or source.get("host"):
        errors.append(_path("source").invalid("", "needs to be unset"))
    return errors


def validate_event_v1_update(new: Object, old: Object) -> list[FieldError]:
    """Only the series of an event goes on."""
    new, old = from_events_v1(new), from_events_v1(old)
    errors = validate_event(new)
    if new.get("series") != old.get("series"):
        errors += _validate_series(new)
    for name in _IMMUTABLE:
        key = "reportingComponent" if name == "reportingController" else name
        errors += immutable(_path(name), new.get(key), old.get(key))
    return errors


def _validate_new_style(event: Object) -> list[FieldError]:
    errors = []
    wanted, namespace = _namespaces(event)
    if not wanted and namespace not in ("default", "kube-system"):
        errors.append(_namespace_mismatch(wanted))
    controller = event.get("reportingComponent") or ""
    if not controller:
        errors.append(_path("reportingController").required())
    errors += invalid_all(_path("reportingController"), controller, names.check_qualified_name(controller))
    for name in ("reportingInstance", "action", "reason"):
        value = event.get(name) or ""
        if not value:
            errors.append(_path(name).required())
        errors += _check_length(name, value, _MAX_CHARACTERS)
    return errors + _check_length("message", event.get("message") or "", _MAX_NOTE)


def _validate_series(event: Object) -> list[FieldError]:
    series = event.get("series")
    if series is None:
        return []
    errors = []
    if (series.get("count") or 0) < _MIN_SERIES_COUNT:
        errors.append(_path("series.count").invalid("", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(_path("series.lastObservedTime").required())
    return errors


def _check_length(name: str, value: str, limit: int) -> list[FieldError]:
    too_long = len(value.encode()) > limit
    return [_path(name).invalid("", f"can have at most {limit} characters")] if too_long else []


def _namespaces(event: Object) -> tuple[str, str]:
    """(of the object that it is about, its own)."""
    involved, metadata = event.get("involvedObject") or {}, event.get("metadata") or {}
    return involved.get("namespace") or "", metadata.get("namespace") or ""


def _namespace_mismatch(wanted: str) -> FieldError:
    return _ROOT.child("involvedObject", "namespace").invalid(wanted, "does not match event.namespace")


def _path(name: str) -> Path:
    return _ROOT.child(name)
