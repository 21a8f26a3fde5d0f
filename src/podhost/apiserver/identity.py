"""The part of ``metadata`` that belongs to the server: names, uid, timestamps, preconditions.  Pure but for chance."""

from __future__ import annotations

from typing import Any

from podhost.api import errors
from podhost.api.errors import ApiError
from podhost.api.field_errors import FieldError, Path
from podhost.api.kind import Kind
from podhost.api.names import generate_name

Obj = dict[str, Any]

_SERVER_FIELDS = (
    "resourceVersion",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)
_KEPT_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")


def assign(metadata: Obj, *, now: str, uid: str) -> None:
    """What a new object gets, in place: name from ``generateName``, uid, creation time."""
    for field in _SERVER_FIELDS:
        metadata.pop(field, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generate_name(metadata["generateName"])
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now


def check_namespace(kind: Kind, metadata: Obj, namespace: str) -> None:
    """Body and URL must agree; the URL's is filled in.  Raises ApiError (400)."""
    if not kind.namespaced:
        metadata.pop("namespace", None)
        return
    if metadata.get("namespace") not in (None, "", namespace):
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["namespace"] = namespace


def check_name(metadata: Obj, name: str) -> None:
    """The name in an update's body must be that of the URL; it may not be left out.  Raises ApiError (400)."""
    if not metadata.get("name"):
        raise errors.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if metadata["name"] != name:
        raise errors.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )


def check_named_twice(kind: Kind, metadata: Obj, name: str) -> None:
    """Whoever evicts or binds must name the pod in the URL and in the body.  Raises ApiError (400)."""
    if metadata.get("name") != name:
        raise errors.bad_request(f"name in URL does not match name in {kind.kind} object")


def find_token_request_problems(metadata: Obj, name: str, namespace: str) -> list[FieldError]:
    """A request for a token may leave out whose it shall be, as the URL says so."""
    return [
        Path("metadata").child(field).invalid(metadata[field], f"must match the service account {field} if specified")
        for field, wanted in (("name", name), ("namespace", namespace))
        if metadata.get(field) not in (None, "", wanted)
    ][:1]


def check_uid_of_missing(kind: Kind, config: Obj, name: str) -> None:
    """Whoever applies with a uid means an object that is there.  Raises ApiError (409)."""
    uid = (config.get("metadata") or {}).get("uid")
    if uid:
        detail = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise errors.conflict(kind.plural, name, kind.group, detail)


def check_uid_of_new(kind: Kind, metadata: Obj, name: str) -> None:
    """Whoever updates with a uid means an object that is there, not a new one.  Raises ApiError (409)."""
    check_preconditions(kind, {"name": name, "uid": ""}, metadata.get("uid") or None, None)


def check_version_of_new(metadata: Obj) -> None:
    """A version says that somebody has read the object: it is no new one.  Raises ApiError (400).

    Kubernetes answers with code 500 for what is the client's mistake, and like it heeds only numbers.
    """
    if _is_set(metadata.get("resourceVersion")) and metadata["resourceVersion"].isdecimal():
        raise ApiError(400, "", "resourceVersion should not be set on objects to be created")


def check_update(kind: Kind, new: Obj, old: Obj) -> None:
    """Optimistic locking.  Raises ApiError (409, 422)."""
    name = old["name"]
    if new.get("uid") not in (None, "", old.get("uid")):
        detail = f"Precondition failed: UID in precondition: {new['uid']}, UID in object meta: {old.get('uid')}"
        raise errors.conflict(kind.plural, name, kind.group, detail)
    version = new.get("resourceVersion")
    if not _is_set(version):
        if not kind.unconditional_update:
            field = Path("metadata").child("resourceVersion")
            problem = field.invalid(0, "must be specified for an update")
            raise errors.invalid(kind.kind, kind.group, name, [problem])
    elif version != old["resourceVersion"]:
        raise errors.conflict(kind.plural, name, kind.group)


def keep_system_metadata(new: Obj, old: Obj) -> None:
    """Give back what no client may change."""
    for field in _KEPT_FIELDS:
        if field in old:
            new[field] = old[field]
        else:
            new.pop(field, None)
    new.pop("selfLink", None)
    new["resourceVersion"] = old["resourceVersion"]


def _is_set(version: str | None) -> bool:
    """Zero is how Go writes that there is none."""
    return version not in (None, "") and str(version).strip("0") != ""


def check_preconditions(kind: Kind, metadata: Obj, uid: str | None, resource_version: str | None) -> None:
    """Raises ApiError (409)."""
    for label, wanted, actual in (
        ("UID", uid, metadata.get("uid")),
        ("ResourceVersion", resource_version, metadata.get("resourceVersion")),
    ):
        if wanted is not None and wanted != actual:
            detail = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {actual}"
            raise errors.conflict(kind.plural, metadata["name"], kind.group, detail)
