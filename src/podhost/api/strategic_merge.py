"""Strategic merge patch (``k8s.io/apimachinery/pkg/util/strategicpatch``): lists are merged by the keys of the schema.

Directives, all of which vanish from the result:

- ``$patch: replace | delete | merge`` in an object, or in an item of a merged list;
- ``$retainKeys: [...]``: of the other fields of the object only these stay;
- ``$deleteFromPrimitiveList/FIELD: [...]``: items that leave a merged list of scalars;
- ``$setElementOrder/FIELD: [...]``: the order of a merged list afterwards.
"""

from __future__ import annotations

import copy
from typing import Any

from podhost.api.field_errors import go_quote
from podhost.api.json_patches import PatchError
from podhost.api.schema import Field, Type, definition

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"
_ANY = Field(Type("any"))


def apply_strategic_merge_patch(document: dict[str, Any], patch: Any, definition_name: str) -> dict[str, Any]:
    """The patched document, a new one.

    Raises:
        PatchError: The patch does not fit the schema, or a directive is malformed.
    """
    if not isinstance(patch, dict):
        raise PatchError("unable to apply strategic merge patch: the patch is not a JSON object")
    return _merge_object(document, patch, definition_name)


def _field(name: str, key: str) -> Field:
    """Facts of a field; maps and unknown structures have none."""
    return (definition(name).fields.get(key) or _ANY) if name else _ANY


def _merge_object(old: dict[str, Any], patch: dict[str, Any], name: str) -> dict[str, Any]:
    """Merge one object of the structure ``name`` (empty: unknown)."""
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != _PATCH}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"Unknown patch type found: {directive}")
    merged = _retain_keys(old, patch)
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN_KEYS):
            continue
        kind, slash, target = key.partition("/")
        if slash and kind in (_DELETE_FROM, _ORDER):
            if target not in patch:
                _merge_list_directives(merged, patch, target, _field(name, target))
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_field(merged.get(key), value, patch, key, _field(name, key))
    return merged


def _retain_keys(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    keep = patch.get(_RETAIN_KEYS)
    if keep is None:
        return dict(old)
    if not isinstance(keep, list) or not all(isinstance(key, str) for key in keep):
        raise PatchError("invalid patch format of retainKeys: it must be a list of strings")
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in keep:
            detail = f"must contain every key of the patch, {go_quote(key)} is missing"
            raise PatchError(f"{go_quote(_RETAIN_KEYS)} {detail}")
    return {key: value for key, value in old.items() if key in keep}


def _merge_field(old: Any, value: Any, patch: dict[str, Any], key: str, field: Field) -> Any:
    if isinstance(value, dict):
        before = old if isinstance(old, dict) and "replace" not in field.patch_strategy else {}
        if field.type.kind == "ref" or field.type.kind == "any":
            return _merge_object(before, value, field.type.ref)
        item = field.type.item
        return _merge_map(before, value, item.ref if item is not None else "")
    if isinstance(value, list):
        if "merge" not in field.patch_strategy:
            return [_strip(item) for item in value]
        before_list = old if isinstance(old, list) else []
        merge = _merge_keyed_list if field.merge_key else _merge_scalars
        items = merge(before_list, value, field)
        return _finish_list(items, before_list, value, patch, key, field)
    return copy.deepcopy(value)


def _merge_map(old: dict[str, Any], patch: dict[str, Any], item: str) -> dict[str, Any]:
    """A map with free keys: its values are scalars or structures ``item``."""
    if not item:
        return _merge_object(old, patch, "")
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_object(merged.get(key) or {}, value, item)
    return merged


def _merge_list_directives(merged: dict[str, Any], patch: dict[str, Any], key: str, field: Field) -> None:
    """Directives for a list that the patch itself does not mention."""
    old = merged.get(key)
    if isinstance(old, list):
        merged[key] = _finish_list(list(old), old, [], patch, key, field)


def _strip(value: Any) -> Any:
    """A copy without directives, for what is taken over as it is."""
    if isinstance(value, dict):
        return {key: _strip(child) for key, child in value.items() if not _is_directive(key) and child is not None}
    if isinstance(value, list):
        return [_strip(item) for item in value]
    return value


def _is_directive(key: str) -> bool:
    return key in (_PATCH, _RETAIN_KEYS) or key.startswith((_DELETE_FROM + "/", _ORDER + "/"))


def _merge_keyed_list(old: list[Any], patch: list[Any], field: Field) -> list[Any]:
    """Items with the same merge key are one; an item may delete its twin, or the patch replace the list."""
    ref = field.type.element_ref
    if any(isinstance(item, dict) and item.get(_PATCH) == "replace" for item in patch):
        return [_strip(item) for item in patch if not (isinstance(item, dict) and item.get(_PATCH) == "replace")]
    items = list(old)
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(f"expected an object in the merged list, found {item!r}")
        if field.merge_key not in item:
            raise PatchError(f"map: {_show(item)} does not contain declared merge key: {field.merge_key}")
        value = item[field.merge_key]
        if item.get(_PATCH) == "delete":
            items = [other for other in items if not _has_key(other, field.merge_key, value)]
            continue
        twin = next((i for i, other in enumerate(items) if _has_key(other, field.merge_key, value)), None)
        if twin is None:
            items.append(_merge_object({}, item, ref))
        else:
            items[twin] = _merge_object(items[twin], item, ref)
    return items


def _has_key(item: Any, merge_key: str, value: Any) -> bool:
    return isinstance(item, dict) and merge_key in item and item[merge_key] == value


def _show(item: dict[str, Any]) -> str:
    """As Go prints a map."""
    return "map[" + " ".join(f"{key}:{value}" for key, value in sorted(item.items())) + "]"


def _merge_scalars(old: list[Any], patch: list[Any], _field: Field) -> list[Any]:
    items = list(old)
    items += [item for item in patch if item not in items]
    return items


def _finish_list(
    items: list[Any], old: list[Any], patch_items: list[Any], patch: dict[str, Any], key: str, field: Field
) -> list[Any]:
    """Apply the list directives that stand beside the field."""
    gone = patch.get(f"{_DELETE_FROM}/{key}")
    if gone is not None:
        if not isinstance(gone, list):
            raise PatchError(f"{_DELETE_FROM}/{key} must be a list")
        items = [item for item in items if item not in gone]
    order = patch.get(f"{_ORDER}/{key}")
    if order is None:
        return items
    if not isinstance(order, list):
        raise PatchError(f"{_ORDER}/{key} must be a list")
    wanted = [_identity(entry, field.merge_key) for entry in order]
    return _reorder(items, old, wanted, field.merge_key)


def _identity(item: Any, merge_key: str) -> Any:
    if merge_key and isinstance(item, dict):
        return item.get(merge_key)
    return item


def _reorder(items: list[Any], old: list[Any], wanted: list[Any], merge_key: str) -> list[Any]:
    """Items named by the directive take its order; those only on the server stay near their old neighbours."""
    named = [item for item in items if _identity(item, merge_key) in wanted]
    named.sort(key=lambda item: wanted.index(_identity(item, merge_key)))
    places = {_hashable(_identity(item, merge_key)): position for position, item in enumerate(old)}

    def place(item: Any) -> int | None:
        return places.get(_hashable(_identity(item, merge_key)))

    result: list[Any] = []
    server_only = [item for item in items if _identity(item, merge_key) not in wanted]
    # A merge of two sorted runs: a server-only item goes before the first named one that was behind it.
    for item in named:
        here = place(item)
        while server_only and here is not None and (place(server_only[0]) or 0) < here:
            result.append(server_only.pop(0))
        result.append(item)
    return result + server_only


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list) else value
