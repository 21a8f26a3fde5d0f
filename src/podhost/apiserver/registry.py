"""Creating, changing and deleting objects: what happens between a decoded body and the store.

No HTTP in here.  Everything is synchronous, so a request is never interleaved with another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from podhost.aiokit.clock import Clock
from podhost.api import deletion, errors, kinds, strategies
from podhost.api.apply import Writer, apply_config, keep_times, record_update
from podhost.api.deletion import DeleteOptions
from podhost.api.field_errors import FieldError
from podhost.api.kind import Kind, validate, validate_status_update, validate_update
from podhost.api.priority_classes import PRIORITY_CLASS, find_global_default
from podhost.api.storage_kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from podhost.api.time import format_time
from podhost.api.validation import pods
from podhost.api.validation.pod_resize import validate_pod_resize
from podhost.apiserver import binding, identity
from podhost.apiserver.claim_admission import admit_claim, check_growth, protect_storage
from podhost.apiserver.pod_admission import admit_pod, admit_pod_update, note_defaulted_pull_policies
from podhost.apiserver.runtime_class_admission import admit_runtime_class
from podhost.apiserver.service_allocation import ServiceAllocator
from podhost.errors import ConflictError, ExistsError
from podhost.store import ObjectKey, ObjectStore
from podhost.store.store import copy

Obj = dict[str, Any]
Change = Callable[[Obj], Obj]
"""Gets a private copy of the current object, returns the wanted one; may raise ApiError."""

Admit = Callable[[Obj, Obj | None], None]
"""Last word on (the object to be written, the one before); raises ApiError."""

_PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_GENERATE_NAME_ATTEMPTS = 8
Subresource = Literal["", "status", "finalize", "ephemeralcontainers", "resize"]


@dataclass(frozen=True, slots=True)
class Deleted:
    """Outcome of a DELETE: the object's last or present state, and whether it is gone."""

    object: Obj
    gone: bool


def admit_all(_new: Obj, _old: Obj | None) -> None:
    """For writes that nobody has to approve."""


class Registry:
    """All writes of the API."""

    def __init__(self, store: ObjectStore, clock: Clock, services: ServiceAllocator) -> None:
        self._store = store
        self._clock = clock
        self._services = services

    def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """The stored object, not to be mutated.  Raises ApiError (404)."""
        found = self._store.find(_key(kind, namespace, name))
        if found is None:
            raise errors.not_found(kind.plural, name, kind.group)
        return found

    def create(
        self,
        kind: Kind,
        namespace: str,
        body: Obj,
        *,
        writer: Writer | None = None,
        admit: Admit = admit_all,
        dry_run: bool = False,
    ) -> Obj:
        """Complete, check and store a new object.  Takes ``body`` over.

        ``writer`` comes to manage its fields; without one it has its managers already, or none.  ``admit`` sees it
        when it is complete and valid.

        Raises:
            ApiError: It is invalid, exists, or its namespace cannot take it.
        """
        metadata = body["metadata"]
        identity.check_namespace(kind, metadata, namespace)
        if kind.namespaced:
            self._check_namespace_accepts(kind, namespace, metadata.get("name", ""))
        generated = not metadata.get("name") and bool(metadata.get("generateName"))
        for attempt in range(_GENERATE_NAME_ATTEMPTS):
            obj = copy(body) if generated else body
            identity.assign(obj["metadata"], now=format_time(self._clock.now()), uid=str(uuid4()))
            self._prepare_new(kind, obj, writer)
            admit(obj, None)
            try:
                return self._store_new(kind, namespace, obj, dry_run=dry_run)
            except ExistsError as error:
                name = obj["metadata"]["name"]
                if not generated:
                    raise errors.already_exists(kind.plural, name, kind.group) from error
                if attempt == _GENERATE_NAME_ATTEMPTS - 1:
                    raise errors.generated_name_taken(kind.plural, name, kind.group) from error
        raise AssertionError("unreachable")

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Change,
        *,
        writer: Writer | None = None,
        admit: Admit = admit_all,
        subresource: Subresource = "",
        dry_run: bool = False,
    ) -> Obj:
        """Read, change, check, write.  Without a ``writer``, ``change`` has set ``managedFields`` itself.

        Raises:
            ApiError: Not found, conflict, invalid, or what ``change`` raises.
        """
        old = self.get(kind, namespace, name)
        new = change(copy(old))
        identity.check_update(kind, new["metadata"], old["metadata"])
        identity.keep_system_metadata(new["metadata"], old["metadata"])
        self._prepare_changed(kind, new, old, subresource, writer)
        admit(new, old)
        keep_times(old, new)
        key = _key(kind, namespace, name)
        if deletion.is_released(kind.plural, new) and not deletion.is_released(kind.plural, old):
            return new if dry_run else self._store.delete(key)
        if dry_run:
            return new
        try:
            return self._store.update(key, new, expected_rv=old["metadata"]["resourceVersion"])
        except ConflictError as error:
            raise errors.conflict(kind.plural, name, kind.group) from error

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        config: Obj,
        writer: Writer,
        decode: Change,
        *,
        admit: Admit = admit_all,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Obj, bool]:
        """Server-side apply: the object, and whether it is new.  ``decode`` checks a merged document.

        Raises:
            ApiError: As :meth:`create` and :meth:`update`.
            ApplyConflict: Others manage fields that would change.
            TypedError: The configuration does not fit the schema.
        """
        now = format_time(self._clock.now())
        if self._store.find(_key(kind, namespace, name)) is None:
            if writer.subresource:
                raise errors.not_found(kind.plural, name, kind.group)
            applied = apply_config(None, config, writer, kind.schema, now, force=force)
            identity.check_uid_of_missing(kind, config, name)
            return self.create(kind, namespace, decode(applied), admit=admit, dry_run=dry_run), True

        def change(current: Obj) -> Obj:
            return decode(apply_config(current, config, writer, kind.schema, now, force=force))

        subresource = writable_subresource(writer.subresource)
        return self.update(kind, namespace, name, change, admit=admit, subresource=subresource, dry_run=dry_run), False

    def delete(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """Delete, or begin to.

        Raises:
            ApiError: Not found, a precondition fails, or the object is protected.
        """
        old = self.get(kind, namespace, name)
        identity.check_preconditions(kind, old["metadata"], options.uid, options.resource_version)
        if kind.plural == "namespaces" and name in _PROTECTED_NAMESPACES:
            raise errors.forbidden(kind.plural, name, "this namespace may not be deleted", kind.group)
        key = _key(kind, namespace, name)
        match deletion.compute_deletion(kind.plural, old, options, self._clock.now()):
            case deletion.RemoveNow():
                return Deleted(old if options.dry_run else self._store.delete(key), gone=True)
            case deletion.MarkDeleted(marked):
                return Deleted(marked if options.dry_run else self._store.update(key, marked), gone=False)
            case deletion.AlreadyDeleting():
                return Deleted(old, gone=False)

    def bind(self, namespace: str, order: Obj, *, dry_run: bool = False) -> None:
        """Carry out a Binding.  Raises ApiError (404, 409)."""
        name = order["metadata"].get("name", "")
        pod = copy(self.get(kinds.POD, namespace, name))
        binding.bind(pod, order, format_time(self._clock.now()))
        if not dry_run:
            self._store.update(_key(kinds.POD, namespace, name), pod)

    def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        return self._store.find(_key(kind, namespace, name)) is not None

    def _prepare_new(self, kind: Kind, obj: Obj, writer: Writer | None) -> None:
        kind.prepare_create(obj)
        if kind is kinds.POD:
            note_defaulted_pull_policies(obj)
        kind.default(obj)
        self._record(kind, None, obj, writer)
        if kind is kinds.POD:
            admit_pod(obj, self._find_service_account, self._store.list(PRIORITY_CLASS.resource_key)[0])
            admit_runtime_class(obj, self._find_runtime_class)
        if kind is PRIORITY_CLASS:
            self._check_global_default(obj)
        if kind is PERSISTENT_VOLUME_CLAIM:
            admit_claim(obj, self._store.list(STORAGE_CLASS.resource_key)[0])
        if kind in (PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME):
            protect_storage(obj)
        problems = validate(kind, obj)
        if kind is kinds.SERVICE and not problems:
            problems = self._services.allocate(obj)
        self._raise_if(problems, kind, obj)

    def _prepare_changed(self, kind: Kind, new: Obj, old: Obj, subresource: str, writer: Writer | None) -> None:
        if subresource == "status":
            self._record(kind, old, new, writer)
            kind.prepare_status_update(new, old)
            problems = validate_status_update(kind, new, old)
        elif subresource == "resize":
            kind.default(new)
            strategies.prepare_pod_resize(new, old)
            self._record(kind, old, new, writer)
            problems = validate_pod_resize(new, old)
        elif subresource == "finalize":
            finalizers = new.get("spec", {}).get("finalizers") or []
            self._record(kind, old, new, writer)
            kind.prepare_update(new, old)
            new["spec"]["finalizers"] = finalizers
            problems = kind.validate_create(new)
        elif subresource == "ephemeralcontainers":
            strategies.prepare_ephemeral_containers_update(new, old)
            note_defaulted_pull_policies(new, "ephemeralContainers")
            kind.default(new)
            self._record(kind, old, new, writer)
            strategies.count_generation(new, old)
            problems = pods.validate_ephemeral_containers_update(new, old)
        else:
            kind.default(new)
            self._record(kind, old, new, writer)
            if kind is PRIORITY_CLASS:
                self._check_global_default(new)
            if kind is kinds.POD:
                admit_pod_update(new, old)
            kind.prepare_update(new, old)
            problems = validate_update(kind, new, old)
            if kind is kinds.SERVICE and not problems:
                problems = self._services.allocate(new)
        self._raise_if(problems, kind, new)
        if kind is PERSISTENT_VOLUME_CLAIM and not subresource:
            check_growth(new, old, self._store.list(STORAGE_CLASS.resource_key)[0])

    def _record(self, kind: Kind, old: Obj | None, new: Obj, writer: Writer | None) -> None:
        if writer is not None:
            record_update(old, new, writer, kind.schema, format_time(self._clock.now()))

    def _store_new(self, kind: Kind, namespace: str, obj: Obj, *, dry_run: bool) -> Obj:
        key = _key(kind, namespace, obj["metadata"]["name"])
        if not dry_run:
            return self._store.create(key, obj)
        if self._store.find(key) is not None:
            raise ExistsError(f"cannot create {key}: it exists already")
        return obj

    def _check_namespace_accepts(self, kind: Kind, namespace: str, name: str) -> None:
        found = self._store.find(ObjectKey("namespaces", "", namespace))
        if found is None:
            raise errors.not_found("namespaces", namespace)
        if "deletionTimestamp" in found["metadata"] and kind.plural != "events":
            detail = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = errors.forbidden(kind.plural, name, detail, kind.group)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error

    def _check_global_default(self, priority_class: Obj) -> None:
        found = find_global_default(self._store.list(PRIORITY_CLASS.resource_key)[0])
        name = priority_class["metadata"].get("name", "")
        if priority_class.get("globalDefault") and found is not None and found["metadata"]["name"] != name:
            detail = (
                f"PriorityClass {found['metadata']['name']} is already marked as default. Only one default can exist"
            )
            raise errors.forbidden(PRIORITY_CLASS.plural, name, detail, PRIORITY_CLASS.group)

    def _find_runtime_class(self, name: str) -> Obj | None:
        return self._store.find(ObjectKey(kinds.RUNTIME_CLASS.resource_key, "", name))

    def _find_service_account(self, namespace: str, name: str) -> Obj | None:
        return self._store.find(ObjectKey("serviceaccounts", namespace, name))

    @staticmethod
    def _raise_if(problems: list[FieldError], kind: Kind, obj: Obj) -> None:
        if problems:
            raise errors.invalid(kind.kind, kind.group, obj["metadata"].get("name", ""), problems)


def writable_subresource(name: str) -> Subresource:
    """Raises LookupError for one that is not written like an object."""
    match name:
        case "" | "status" | "finalize" | "ephemeralcontainers" | "resize":
            return name
    raise LookupError(f"subresource {name} is not written this way")


def _key(kind: Kind, namespace: str, name: str) -> ObjectKey:
    return ObjectKey(kind.resource_key, namespace if kind.namespaced else "", name)
