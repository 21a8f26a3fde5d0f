"""``metadata.managedFields``: who manages which fields, kept at every write, and the rules of apply.

An update takes the fields that it changes away from everybody else.  An apply claims the fields of its configuration,
gives up those that it had claimed before and leaves out now (they go, unless somebody else manages them), and
conflicts with other managers whose fields it would change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from podhost.api.apply import field_sets
from podhost.api.apply.field_sets import Fields
from podhost.api.apply.shapes import Shape, root_shape
from podhost.api.apply.values import (
    Comparison,
    check_config,
    collect_fields,
    compare,
    merge,
    remove_fields,
    with_named_fields,
)

Obj = dict[str, Any]
Operation = Literal["Apply", "Update"]

MAX_UPDATE_MANAGERS = 10
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"
_MAX_ANNOTATIONS_BYTES = 256 << 10
_ANCIENT = "ancient-changes"
_BEFORE_FIRST_APPLY = "before-first-apply"
_UNMANAGED = field_sets.from_paths(
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", "f:" + name)
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)
"""What identifies the object and what the server keeps: nobody manages it."""
_ENTRY_KEYS = ("operation", "manager", "apiVersion", "subresource")
_RESET: Mapping[str, Fields] = {
    "": field_sets.from_paths(("f:status",)),
    "status": field_sets.from_paths(
        ("f:spec",), ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences")
    ),
    "finalize": field_sets.from_paths(("f:status",)),
}
"""What a write through each subresource cannot change."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the client's name for itself, and through which subresource."""

    manager: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class ManagerId:
    """One entry of ``managedFields``.  Appliers are the same whatever version they use."""

    manager: str
    operation: Operation
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As a conflict names it."""
        text = json.dumps(self.manager, ensure_ascii=False)
        if self.subresource:
            text += f" with subresource {json.dumps(self.subresource)}"
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one manager has."""

    fields: Fields
    api_version: str
    time: str = ""


Managers = dict[ManagerId, Entry]


class ApplyConflict(Exception):
    """Others manage fields that the configuration would change."""

    def __init__(self, conflicts: Mapping[ManagerId, Fields]) -> None:
        self.conflicts = conflicts
        super().__init__(_conflict_message(self.pairs()))

    def pairs(self) -> list[tuple[str, str]]:
        """(manager, path) of each conflict, sorted by manager."""
        return sorted(
            (
                (str(manager), field_sets.format_path(path))
                for manager, fields in self.conflicts.items()
                for path in field_sets.paths(fields)
            ),
            key=lambda pair: pair[0],
        )


def record_update(live: Obj | None, new: Obj, writer: Writer, definition_name: str, now: str) -> None:
    """Set ``new``'s ``managedFields`` for an update (or, without ``live``, a creation) by ``writer``.

    Managed fields that the client sent itself are believed, except through a subresource; ``[{}]`` resets them.
    """
    metadata = new["metadata"]
    sent = metadata.pop("managedFields", None)
    stored = (live or {}).get("metadata", {}).get("managedFields") or []
    if live is not None and not stored and not sent:
        return  # from before managed fields were kept: they begin with the first apply
    if sent == [{}] and not writer.subresource:
        return
    managers = _decode(sent if sent and not writer.subresource else stored) or _decode(stored)
    managers = _update(managers, live or _blank(new), new, writer, definition_name, now)
    _store_managers(metadata, managers)


def record_write(live: Obj | None, new: Obj, manager: str, definition_name: str, now: str) -> None:
    """As :func:`record_update`, for a component that writes an object and its status at once.

    On a cluster these are two requests, the second to the ``status`` subresource, and so they are recorded.
    """
    record_update(live, new, Writer(manager), definition_name, now)
    before = (live or {}).get("status") or {}
    if (new.get("status") or {}) != before:
        between = {**new, "metadata": dict(new["metadata"]), "status": before}
        record_update(between, new, Writer(manager, "status"), definition_name, now)


def keep_times(old: Obj, new: Obj) -> None:
    """A write that changes nothing but the times of ``managedFields`` changes nothing at all."""
    metadata, old_metadata = new["metadata"], old["metadata"]
    before, after = old_metadata.get("managedFields"), metadata.get("managedFields")
    if not before or not after or before == after or _timeless(before) != _timeless(after):
        return
    if _without_managers(old) == _without_managers(new):
        metadata["managedFields"] = before


def _timeless(entries: Sequence[Obj]) -> list[Obj]:
    bare = [{key: value for key, value in entry.items() if key != "time"} for entry in entries]
    return sorted(bare, key=lambda entry: [str(entry.get(key)) for key in _ENTRY_KEYS])


def apply_config(live: Obj | None, config: Obj, writer: Writer, definition_name: str, now: str, *, force: bool) -> Obj:
    """Apply a configuration to the live object (``None``: there is none yet).

    The result has its ``managedFields``, and is not decoded or defaulted yet: what is ``null`` in it is to go.

    Raises:
        TypedError: The configuration does not fit the schema.
        ApplyConflict: Others manage fields that it would change, and ``force`` is false.
    """
    shape = root_shape(definition_name)
    check_config(config, shape)
    base = live or {key: config[key] for key in ("apiVersion", "kind") if key in config}
    managers = _decode((base.get("metadata") or {}).get("managedFields"))
    if live is not None and not managers:
        owner = Writer(_BEFORE_FIRST_APPLY)
        managers = _update({}, _blank(live), live, owner, definition_name, now)
    base = _without_managers(base)
    merged, managers = _apply_or_upgrade(base, config, managers, writer, shape, now, force=force)
    merged = _without_managers(merged)
    if writer.manager == _KUBECTL and LAST_APPLIED in _annotations(base):
        merged = _with_last_applied(merged, config)
    merged = {**merged, "metadata": dict(merged.get("metadata") or {})}
    _store_managers(merged["metadata"], managers)
    return merged


def _apply_or_upgrade(
    live: Obj, config: Obj, managers: Managers, writer: Writer, shape: Shape, now: str, *, force: bool
) -> tuple[Obj, Managers]:
    """kubectl's server-side apply may take over what its client-side apply had set to the present values."""
    try:
        return _apply(live, config, managers, writer, shape, now, force=force)
    except ApplyConflict as conflict:
        allowed = _fields_of_last_applied(live, shape) if writer.manager == _KUBECTL else {}
        if not allowed:
            raise
        left = {manager: field_sets.difference(fields, allowed) for manager, fields in conflict.conflicts.items()}
        left = {manager: fields for manager, fields in left.items() if fields}
        if left:
            raise ApplyConflict(left) from conflict
        return _apply(live, config, managers, writer, shape, now, force=True)


def _apply(
    live: Obj, config: Obj, managers: Managers, writer: Writer, shape: Shape, now: str, *, force: bool
) -> tuple[Obj, Managers]:
    me = ManagerId(writer.manager, "Apply", "", writer.subresource)
    version = str(config.get("apiVersion", ""))
    last = managers[me].fields if me in managers else {}
    claimed = _manageable(collect_fields(config, shape), writer.subresource)
    others = {**managers, me: Entry(claimed, version, now)}
    merged = _prune(merge(live, config, shape), others, last, shape)
    changes = _changes(live, merged, shape, writer.subresource)
    kept = _take_away(others, changes, me, force=force)
    return merged, kept


def _prune(merged: Obj, managers: Managers, last: Fields, shape: Shape) -> Obj:
    """Remove what the applier had claimed last time and claims no more, but nothing that anybody manages."""
    if not last:
        return merged
    last = with_named_fields(last, shape)
    present = with_named_fields(collect_fields(merged, shape), shape)
    managed: Fields = {}
    for entry in managers.values():
        managed = field_sets.union(managed, entry.fields)
    pruned = remove_fields(merged, last, shape)
    kept = field_sets.union(_named(pruned, shape), with_named_fields(managed, shape))
    pruned = remove_fields(merged, field_sets.difference(present, kept), shape)
    gone = field_sets.intersection(field_sets.difference(present, _named(pruned, shape)), last)
    result: Obj = remove_fields(merged, gone, shape)
    return result


def _named(value: Obj, shape: Shape) -> Fields:
    return with_named_fields(collect_fields(value, shape), shape)


def _update(managers: Managers, live: Obj, new: Obj, writer: Writer, definition_name: str, now: str) -> Managers:
    """Managers after an update: the writer has what it changed, and nobody else has."""
    shape = root_shape(definition_name)
    changes = _changes(_without_managers(live), _without_managers(new), shape, writer.subresource)
    me = ManagerId(writer.manager, "Update", str(new.get("apiVersion", "")), writer.subresource)
    mine = managers[me].fields if me in managers else {}
    kept = _take_away(managers, changes, None, force=True)
    written = field_sets.union(changes.modified, changes.added)
    if written:
        mine = field_sets.union(field_sets.difference(mine, changes.removed), written)
        kept[me] = Entry(mine, me.api_version, now)
    return _cap(kept)


def _changes(live: Obj, new: Obj, shape: Shape, subresource: str) -> Comparison:
    if live == new:
        return Comparison()
    found = compare(live, new, shape)
    found.added = _manageable(found.added, subresource)
    found.removed = _manageable(found.removed, subresource)
    found.modified = _manageable(found.modified, subresource)
    return found


def _manageable(fields: Fields, subresource: str) -> Fields:
    reset = _RESET.get(subresource)
    if reset:
        fields = field_sets.without_subtrees(fields, reset)
    return field_sets.difference(fields, _UNMANAGED)


def _take_away(managers: Managers, changes: Comparison, me: ManagerId | None, *, force: bool) -> Managers:
    """Managers without what the change writes or removes.  Raises ApplyConflict unless ``force``."""
    written = field_sets.union(changes.modified, changes.added)
    gone = field_sets.union(written, changes.removed)
    kept: Managers = {}
    conflicts: dict[ManagerId, Fields] = {}
    for manager, entry in managers.items():
        fields = entry.fields
        if manager != me and gone:
            overlap = field_sets.intersection(fields, written)
            if overlap:
                conflicts[manager] = overlap
            fields = field_sets.difference(fields, gone)
        elif manager == me:
            fields = field_sets.difference(fields, changes.removed)
        if fields:
            kept[manager] = entry if fields is entry.fields else replace(entry, fields=fields)
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    return kept


def _cap(managers: Managers) -> Managers:
    """No more than ten updaters: the oldest become one."""
    updaters = sorted((m for m in managers if m.operation == "Update"), key=lambda m: (managers[m].time, m.manager))
    excess = len(updaters) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return managers
    capped = dict(managers)
    for manager in updaters[: excess + 1]:
        entry = capped.pop(manager)
        bucket = ManagerId(_ANCIENT, "Update", entry.api_version)
        old = capped.get(bucket)
        fields = entry.fields if old is None else field_sets.union(old.fields, entry.fields)
        capped[bucket] = Entry(fields, entry.api_version, entry.time)
    return capped


def _fields_of_last_applied(live: Obj, shape: Shape) -> Fields:
    """What kubectl's annotation claims and is as it says."""
    try:
        config = json.loads(_annotations(live).get(LAST_APPLIED, ""))
        check_config(config, shape)
        if not isinstance(config, dict):
            return {}
    except ValueError:
        return {}
    changes = compare(live, config, shape)
    fields = collect_fields(config, shape)
    for differing in (changes.modified, changes.added, changes.removed):
        fields = field_sets.difference(fields, differing)
    return fields


def _with_last_applied(merged: Obj, config: Obj) -> Obj:
    """The annotation of client-side apply follows, so that a user may go back to it."""
    metadata = dict(config.get("metadata") or {})
    if LAST_APPLIED in _annotations(config):
        metadata["annotations"] = {key: v for key, v in _annotations(config).items() if key != LAST_APPLIED}
    bare = {**config, "metadata": metadata}
    text = json.dumps(bare, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    if len(text.encode()) > _MAX_ANNOTATIONS_BYTES:
        text = ""
    metadata = dict(merged.get("metadata") or {})
    metadata["annotations"] = {**_annotations(merged), LAST_APPLIED: text}
    return {**merged, "metadata": metadata}


def _annotations(obj: Obj) -> Mapping[str, Any]:
    found = (obj.get("metadata") or {}).get("annotations")
    return found if isinstance(found, dict) else {}


def _blank(obj: Obj) -> Obj:
    """Go's empty object of the same kind: what a creation is compared with."""
    blank: Obj = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    blank.update((key, {}) for key in ("metadata", "spec", "status") if isinstance(obj.get(key), dict))
    if blank.get("kind") == "Pod" or "containers" in (obj.get("spec") or {}):
        blank["spec"] = {"containers": None}
    return blank


def _without_managers(obj: Obj) -> Obj:
    metadata = obj.get("metadata") or {}
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _store_managers(metadata: Obj, managers: Managers) -> None:
    encoded = _encode(managers)
    if encoded:
        metadata["managedFields"] = encoded
    else:
        metadata.pop("managedFields", None)


def _encode(managers: Managers) -> list[Obj]:
    ordered = sorted(
        managers.items(),
        key=lambda pair: (
            pair[0].operation,
            pair[1].time,
            pair[0].manager,
            pair[1].api_version,
            pair[0].subresource,
        ),
    )
    return [_encode_entry(manager, entry) for manager, entry in ordered]


def _encode_entry(manager: ManagerId, entry: Entry) -> Obj:
    encoded: Obj = {
        "manager": manager.manager,
        "operation": manager.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": field_sets.sort_fields(entry.fields),
        "subresource": manager.subresource,
    }
    return {key: value for key, value in encoded.items() if value}


def _decode(entries: Any) -> Managers:
    """Empty when anything is wrong with them, as Kubernetes begins anew then."""
    managers: Managers = {}
    if not isinstance(entries, Sequence):
        return managers
    for entry in entries:
        decoded = _decode_entry(entry) if isinstance(entry, dict) else None
        if decoded is None:
            return {}
        managers[decoded[0]] = decoded[1]
    return managers


def _decode_entry(entry: Obj) -> tuple[ManagerId, Entry] | None:
    operation = entry.get("operation")
    fields = field_sets.check_fields(entry.get("fieldsV1") or {})
    if operation not in ("Apply", "Update") or fields is None:
        return None
    version = str(entry.get("apiVersion") or "")
    name = str(entry.get("manager") or "")
    manager = ManagerId(name, operation, "" if operation == "Apply" else version, str(entry.get("subresource") or ""))
    return manager, Entry(fields, version, str(entry.get("time") or ""))


def _conflict_message(pairs: Sequence[tuple[str, str]]) -> str:
    if len(pairs) == 1:
        manager, path = pairs[0]
        return f"Apply failed with 1 conflict: conflict with {manager}: {path}"
    lines: list[str] = []
    for index, (manager, path) in enumerate(pairs):
        if index == 0 or pairs[index - 1][0] != manager:
            lines.append(f"conflicts with {manager}:")
        lines.append(f"- {path}")
    return f"Apply failed with {len(pairs)} conflicts: " + "\n".join(lines)
