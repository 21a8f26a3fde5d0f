"""ObjectMeta (``k8s.io/apimachinery/pkg/api/validation``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from podhost.api import names
from podhost.api.field_errors import FieldError, Path, go_quote
from podhost.api.objects import Object

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
ANNOTATIONS_MAX_BYTES = 256 * 1024
_META = Path("metadata")
STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def nothing_more(_obj: Object) -> list[FieldError]:
    """For kinds that have no rules beyond metadata."""
    return []


def nothing_changed(_new: Object, _old: Object) -> list[FieldError]:
    """For kinds of which everything may change."""
    return []


def invalid_all(path: Path, value: Any, messages: Iterable[str]) -> list[FieldError]:
    """One error a message, as of the checks in ``names``."""
    return [path.invalid(value, message) for message in messages]


def immutable(path: Path, new: Any, old: Any) -> list[FieldError]:
    return [] if new == old else [path.invalid(new, IMMUTABLE)]


def one_of(path: Path, value: Any, supported: frozenset[str] | Sequence[str]) -> list[FieldError]:
    """Enumerations: required, then one of the supported values."""
    if not value:
        return [path.required()]
    return [] if value in supported else [path.not_supported(value, supported)]


def not_negative(path: Path, value: int | None) -> list[FieldError]:
    return [path.invalid(value, NOT_NEGATIVE)] if (value or 0) < 0 else []


def in_range(path: Path, value: int, low: int, high: int) -> list[FieldError]:
    return [] if low <= value <= high else [path.invalid(value, f"must be between {low} and {high}, inclusive")]


def validate_metadata(
    meta: Mapping[str, Any], namespaced: bool, check_name: Callable[[str], list[str]], path: Path = _META
) -> list[FieldError]:
    """Metadata of a new object, after its name was generated."""
    errors: list[FieldError] = []
    if prefix := meta.get("generateName"):
        # A trailing dash is fine: something follows it.
        masked = prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        errors += invalid_all(path.child("generateName"), prefix, check_name(masked))
    name = meta.get("name") or ""
    if not name:
        errors.append(path.child("name").required("name or generateName is required"))
    else:
        errors += invalid_all(path.child("name"), name, check_name(name))
    errors += _validate_namespace(meta.get("namespace") or "", namespaced, path.child("namespace"))
    return errors + _validate_common(meta, path)


def _validate_namespace(namespace: str, namespaced: bool, path: Path) -> list[FieldError]:
    if not namespaced:
        return [path.forbidden("not allowed on this type")] if namespace else []
    if not namespace:
        return [path.required()]
    return invalid_all(path, namespace, names.check_dns_label(namespace))


def _validate_common(meta: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = not_negative(path.child("generation"), meta.get("generation"))
    if labels := meta.get("labels"):
        errors += validate_labels(labels, path.child("labels"))
    if annotations := meta.get("annotations"):
        errors += validate_annotations(annotations, path.child("annotations"))
    if owners := meta.get("ownerReferences"):
        errors += validate_owner_references(owners, path.child("ownerReferences"))
    if finalizers := meta.get("finalizers"):
        errors += validate_finalizers(finalizers, path.child("finalizers"))
    return errors


def validate_labels(labels: Mapping[str, str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for key, value in labels.items():
        errors += invalid_all(path, key, names.check_qualified_name(key))
        errors += invalid_all(path, value, names.check_label_value(value))
    return errors


def validate_annotations(annotations: Mapping[str, str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    total = 0
    for key, value in annotations.items():
        errors += invalid_all(path, key, names.check_qualified_name(key.lower()))
        total += len(key) + len(value.encode(errors="surrogatepass"))
    if total > ANNOTATIONS_MAX_BYTES:
        errors.append(path.too_long(ANNOTATIONS_MAX_BYTES))
    return errors


def validate_owner_references(owners: Sequence[Mapping[str, Any]], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    controller = ""
    for index, owner in enumerate(owners):
        errors += _validate_owner(owner, path.index(index))
        if owner.get("controller"):
            this = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                detail = 'Only one reference can have Controller set to true. Found "true" in references for '
                errors.append(path.invalid(list(owners), f"{detail}{controller} and {this}"))
            else:
                controller = this
    return errors


def _validate_owner(owner: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = []
    version = owner.get("apiVersion") or ""
    if not version:
        errors.append(path.child("apiVersion").required("must not be empty"))
    elif version.count("/") > 1 or version.endswith("/"):
        errors.append(path.child("apiVersion").invalid(version, "must be <group>/<version> or <version>"))
    missing = [name for name in ("kind", "name", "uid") if not owner.get(name)]
    errors += [path.child(name).required("must not be empty") for name in missing]
    if version == "v1" and owner.get("kind") == "Event":
        errors.append(path.invalid(dict(owner), "/v1, Kind=Event is disallowed from being an owner"))
    return errors


def validate_finalizers(finalizers: Sequence[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for finalizer in finalizers:
        errors += invalid_all(path, finalizer, names.check_qualified_name(finalizer))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(path.invalid(list(finalizers), detail))
    for index, finalizer in enumerate(finalizers):
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(path.index(index).invalid(finalizer, detail))
    return errors


def validate_metadata_update(new: Mapping[str, Any], old: Mapping[str, Any], path: Path = _META) -> list[FieldError]:
    """Metadata of a changed object."""
    errors: list[FieldError] = []
    if old.get("deletionTimestamp"):
        errors += _forbid_new_finalizers(new.get("finalizers") or (), old.get("finalizers") or (), path)
    if not new.get("resourceVersion"):
        errors.append(path.child("resourceVersion").invalid(0, "must be specified for an update"))
    if (new.get("generation") or 0) < (old.get("generation") or 0):
        errors.append(path.child("generation").invalid(new.get("generation") or 0, "must not be decremented"))
    for name in ("name", "namespace", "uid"):
        errors += immutable(path.child(name), new.get(name) or "", old.get(name) or "")
    for name in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        errors += immutable(path.child(name), new.get(name), old.get(name))
    return errors + _validate_common(new, path)


def _forbid_new_finalizers(new: Sequence[str], old: Sequence[str], path: Path) -> list[FieldError]:
    extra = sorted(set(new) - set(old))
    if not extra:
        return []
    shown = "[]string{" + ", ".join(go_quote(name) for name in extra) + "}"
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
    return [path.child("finalizers").forbidden(detail)]


def validate_label_selector(selector: Mapping[str, Any], path: Path) -> list[FieldError]:
    """A ``metav1.LabelSelector``."""
    errors = validate_labels(selector.get("matchLabels") or {}, path.child("matchLabels"))
    for index, rule in enumerate(selector.get("matchExpressions") or ()):
        at = path.child("matchExpressions").index(index)
        operator, values = rule.get("operator") or "", rule.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be specified when `operator` is 'In' or 'NotIn'"
                errors.append(at.child("values").required(detail))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(at.child("values").forbidden(detail))
        else:
            errors.append(at.child("operator").invalid(operator, "not a valid selector operator"))
        errors += invalid_all(at.child("key"), rule.get("key") or "", names.check_qualified_name(rule.get("key") or ""))
        for number, value in enumerate(values):
            errors += invalid_all(at.child("values").index(number), value, names.check_label_value(value))
    return errors
