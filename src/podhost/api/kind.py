"""What a kind of object is to the API server: a declaration of names, scope, schema, defaults, checks and columns.

The kinds themselves are declared in ``kinds`` and in modules of its own for each family.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from podhost.api import columns as tables
from podhost.api import names, selectors, strategies
from podhost.api import warnings as messages
from podhost.api.field_errors import FieldError
from podhost.api.objects import Object
from podhost.api.validation import metadata

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
PROXY_VERBS = ("create", "delete", "get", "patch", "update")
STATUS_VERBS = ("get", "patch", "update")

Validate = Callable[[Object], list[FieldError]]
ValidateUpdate = Callable[[Object, Object], list[FieldError]]


def _ignore(_obj: Object) -> None:
    return None


def _ignore_old(_new: Object, _old: Object) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """``pods/log`` and the like.  ``kind`` with group and version is what discovery shows."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class StoredForm:
    """For a kind that is another view of stored objects: where these are, and the way there and back.

    The functions copy what they change and share the rest.
    """

    resource: str
    from_stored: Callable[[Object], Object]
    to_stored: Callable[[Object], Object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the API server needs to know about one kind of object.

    The order at creation: ``check_structure`` (schema.py), ``prepare_create``, ``default``, ``validate_create``;
    at update: ``check_structure``, ``default``, ``prepare_update(new, old)``, ``validate_update(new, old)``.
    """

    kind: str
    version: str
    plural: str
    singular: str
    schema: str
    """Full name of the definition in the facts table."""
    group: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    stored_form: StoredForm | None = None
    """For a second version of objects that are stored in another one."""
    beats: bool = False
    """It has times that are computed when it is read (``heartbeats``): one version is not always the same."""
    check_name: names.NameCheck = names.check_dns_subdomain
    default: Callable[[Object], None] = _ignore
    prepare_create: Callable[[Object], None] = _ignore
    prepare_update: Callable[[Object, Object], None] = _ignore_old
    """Give back to the old object what this request may not change; count ``generation``."""
    prepare_status_update: Callable[[Object, Object], None] = strategies.keep_all_but_status
    validate_create: Validate = metadata.nothing_more
    """Errors of everything but metadata, which ``validate`` adds."""
    validate_update: ValidateUpdate = metadata.nothing_changed
    validate_status_update: ValidateUpdate = metadata.nothing_changed
    columns: tuple[tables.Column, ...] = tables.DEFAULT_COLUMNS
    row: Callable[[Object, datetime], list[Any]] = tables.default_row
    selectable_fields: Callable[[Mapping[str, Any]], dict[str, str]] = selectors.metadata_fields
    """Values for field selectors; the keys are those that a client may ask for."""
    warnings: Callable[[Object], list[str]] = messages.no_warnings
    warnings_as_written: Callable[[Object], list[str]] = messages.no_warnings
    """About a new object before anything is filled in."""
    host_warnings: Callable[[Object, Collection[str]], list[str]] = messages.no_host_warnings
    """About what this machine cannot do; gets the names of the kernel's modules that it lacks."""
    unconditional_update: bool = True
    """An update without resourceVersion overwrites."""
    create_on_update: bool = False
    """An update of an object that is not there creates it."""
    returns_deleted: bool = False
    """A deletion answers with the object as it was last, not with a Status."""

    @property
    def group_version(self) -> str:
        """``v1`` or ``group/version``: the ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """``pods``, ``endpointslices.discovery.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def resource_key(self) -> str:
        """Resource in the API server's view of the store."""
        return self.resource

    @property
    def stored_resource(self) -> str:
        """Resource in the store itself."""
        return self.resource if self.stored_form is None else self.stored_form.resource

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)


def validate(kind: Kind, obj: Object) -> list[FieldError]:
    """All errors of a new object."""
    errors = metadata.validate_metadata(obj.get("metadata") or {}, kind.namespaced, kind.check_name)
    return errors + kind.validate_create(obj)


def validate_update(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """All errors of a changed object."""
    errors = metadata.validate_metadata_update(new.get("metadata") or {}, old.get("metadata") or {})
    return errors + kind.validate_update(new, old)


def validate_status_update(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """All errors of an object whose status was written."""
    errors = metadata.validate_metadata_update(new.get("metadata") or {}, old.get("metadata") or {})
    return errors + kind.validate_status_update(new, old)


def status_subresource(kind: str) -> Subresource:
    """The ``status`` that most kinds with one have."""
    return Subresource(name="status", kind=kind, verbs=STATUS_VERBS)
