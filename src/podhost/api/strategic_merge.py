"""Strategic merge patch (``k8s.io/apimachinery/pkg/util/strategicpatch``): lists are merged by the keys of the schema.

Directives, all of which vanish from the result:

- ``$patch: replace | delete`` in an object, or in an item of a merged list;
- ``$retainKeys: [...]``: of the other fields of the object only these stay;
- ``$deleteFromPrimitiveList/FIELD: [...]``: items that leave a merged list of scalars;
- ``$setElementOrder/FIELD: [...]``: the order of a merged list afterwards.
"""

from __future__ import annotations

import copy
from typing import Any

from podhost.api.json_patches import PatchError
from podhost.api.schema import Field, Type, definition

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_ANY = Field(Type("any"))
_NOTHING = object()


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
    if _PATCH in patch:
        return _directed_object(patch)
    merged = _retain_keys(old, patch)
    ordered = {key.removeprefix(_ORDER): order for key, order in patch.items() if key.startswith(_ORDER)}
    for key, order in ordered.items():
        _merge_ordered(merged, patch, key, order, _field(name, key))
    for key, value in patch.items():
        if key in ordered or key == _RETAIN_KEYS or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_FROM):
            _delete_from(merged, key.removeprefix(_DELETE_FROM), value)
        elif value is None:
            merged.pop(key, None)
        else:
            _put(merged, key, _merge_field(merged.get(key), value, _field(name, key)))
    return merged


def _directed_object(patch: dict[str, Any]) -> dict[str, Any]:
    if patch[_PATCH] == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != _PATCH}
    if patch[_PATCH] == "delete":
        return {}
    raise PatchError(f"unknown patch type: {show_go_value(patch[_PATCH])} in map: {show_go_value(patch)}")


def _put(merged: dict[str, Any], key: str, value: Any) -> None:
    if value is _NOTHING:
        merged.pop(key, None)
    else:
        merged[key] = value


def _retain_keys(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    keep = patch.get(_RETAIN_KEYS)
    if _RETAIN_KEYS not in patch:
        return dict(old)
    if not isinstance(keep, list):
        raise PatchError("invalid patch format of retainKeys")
    for key, value in patch.items():
        directive = key == _RETAIN_KEYS or key.startswith((_DELETE_FROM, _ORDER))
        if not directive and value is not None and key not in keep:
            raise PatchError("invalid patch format of retainKeys")
    return {key: value for key, value in old.items() if key in keep}


def _merge_field(old: Any, value: Any, field: Field) -> Any:
    """``_NOTHING`` when only a directive is left."""
    if isinstance(value, dict) and isinstance(old, dict):
        if "replace" in field.patch_strategy:
            return copy.deepcopy(value)
        return _merge_map(old, value, field.type)
    if isinstance(value, list) and isinstance(old, list) and "merge" in field.patch_strategy:
        return _merge_list(old, value, field)
    return _strip(value)


def _merge_map(old: dict[str, Any], patch: dict[str, Any], kind: Type) -> dict[str, Any]:
    """An object of a structure, or one with free keys, whose values are scalars or structures."""
    if kind.kind != "map" or kind.item is None or not kind.item.ref or _PATCH in patch:
        return _merge_object(old, patch, kind.ref)
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge_object(merged[key], value, kind.item.ref)
        else:
            _put(merged, key, _strip(value))
    return merged


def _strip(value: Any) -> Any:
    """A copy for a place where there was nothing: without nulls, and without whatever a directive is in."""
    if isinstance(value, dict):
        if _PATCH in value:
            return _NOTHING
        kept = ((key, _strip(child)) for key, child in value.items() if not _is_directive(key) and child is not None)
        return {key: child for key, child in kept if child is not _NOTHING}
    if isinstance(value, list):
        return [item for item in map(_strip, value) if item is not _NOTHING]
    return value


def _unmark(value: Any) -> Any:
    """A copy for a new item, as Kubernetes takes it: directives in it say nothing, and vanish."""
    if isinstance(value, dict):
        return {key: _unmark(child) for key, child in value.items() if key != _PATCH and not _is_directive(key)}
    return [_unmark(item) for item in value] if isinstance(value, list) else value


def _is_directive(key: str) -> bool:
    return key == _RETAIN_KEYS or key.startswith((_DELETE_FROM, _ORDER))


def _merge_list(old: list[Any], patch: list[Any], field: Field) -> list[Any]:
    """A list that merges, by its key or as a set, in the order of the patch."""
    if not old and not patch:
        return old
    _check_elements(old, patch)
    if not isinstance((old or patch)[0], dict):
        merged = list(dict.fromkeys([*old, *patch]))
        return _order(merged, old, patch, "")
    if not field.merge_key:
        raise PatchError("cannot merge lists without merge key")
    kept, items = _apply_item_directives(old, patch, field.merge_key)
    merged = _merge_items(kept, items, field)
    return _order(merged, kept, items, field.merge_key)


def _check_elements(*lists: list[Any]) -> None:
    """Raises PatchError for what cannot be merged: lists of lists, and elements of different types."""
    kinds = {type(item) for items in lists for item in items}
    if list in kinds:
        raise PatchError("lists of lists are not supported", unprocessable=True)
    if len(kinds) > 1 or type(None) in kinds:
        raise PatchError("list element types are not identical")


def _apply_item_directives(old: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """The list without deleted items (empty when it is replaced), and the patch's items without directives."""
    kept, items, replaced = list(old), [], False
    for item in patch:
        directive = item.get(_PATCH) if _PATCH in item else _NOTHING
        if directive is _NOTHING:
            items.append(item)
        elif directive == "delete":
            value = _key_of(item, merge_key)
            kept = [other for other in kept if not _has_key(other, merge_key, value)]
        elif directive == "replace":
            replaced = True
        elif directive == "merge":
            raise PatchError("merging lists cannot yet be specified in the patch")
        else:
            raise PatchError(f"unknown patch type: {show_go_value(directive)} in map: {show_go_value(item)}")
    return ([] if replaced else kept), items


def _merge_items(old: list[Any], patch: list[Any], field: Field) -> list[Any]:
    ref, merge_key = field.type.element_ref, field.merge_key
    merged = list(old)
    for item in patch:
        value = _key_of(item, merge_key)
        twin = next((i for i, other in enumerate(merged) if _has_key(other, merge_key, value)), None)
        if twin is None:
            merged.append(_unmark(item))
        else:
            merged[twin] = _merge_object(merged[twin], item, ref)
    return merged


def _key_of(item: Any, merge_key: str) -> Any:
    if not isinstance(item, dict) or merge_key not in item:
        raise PatchError(f"map: {show_go_value(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _has_key(item: Any, merge_key: str, value: Any) -> bool:
    return isinstance(item, dict) and merge_key in item and item[merge_key] == value


def show_go_value(value: Any) -> str:
    """As Go prints a value."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show_go_value(child)}" for key, child in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(show_go_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "<nil>" if value is None else str(value)


def _delete_from(merged: dict[str, Any], key: str, gone: Any) -> None:
    if not isinstance(gone, list):
        raise PatchError("invalid patch format of primitive list")
    old = merged.get(key)
    if isinstance(old, list):
        merged[key] = [item for item in old if item not in gone]


def _merge_ordered(merged: dict[str, Any], patch: dict[str, Any], key: str, order: Any, field: Field) -> None:
    """A list whose order the patch tells, whether or not it changes its items."""
    if not isinstance(order, list):
        raise PatchError("invalid patch format of setElementOrder list")
    old, items = merged.get(key), patch.get(key)
    if any(value is not None and not isinstance(value, list) for value in (old, items)):
        raise PatchError("invalid patch format of setElementOrder list")
    _check_order(items or [], order, field.merge_key)
    if old is None and items is None:
        return
    if not old and not items:
        raise PatchError("no elements in any of the given slices")
    if items is None:
        new = [] if key in patch else list(old or ())
    elif old is None:
        new = _strip(items)
    else:
        new = _merge_list(old, items, field) if "merge" in field.patch_strategy else _strip(items)
    places = _places_after(old or [], items or [], field.merge_key)
    merged[key] = _order(new, places, order, field.merge_key)


def _places_after(old: list[Any], patch: list[Any], merge_key: str) -> list[Any]:
    """Where the old list's items count as having been.

    Kubernetes deletes and appends in the memory of the old list before it looks up places there: new items come
    to stand where deleted ones made room, and clients see the order that follows from it.
    """
    if not merge_key or not any(isinstance(item, dict) and item.get(_PATCH) == "delete" for item in patch):
        return old
    kept, items = _apply_item_directives(old, patch, merge_key)
    known = [_identity(item, merge_key) for item in kept]
    appended = [item for item in items if _identity(item, merge_key) not in known]
    return (kept + appended + old[len(kept) + len(appended) :])[: len(old)]


def _check_order(items: list[Any], order: list[Any], merge_key: str) -> None:
    """The items of the patch must come in the order that it tells."""
    names = iter([_identity(entry, merge_key) for entry in order])
    for item in items:
        directed = merge_key and isinstance(item, dict) and _PATCH in item
        if not directed and not any(name == _identity(item, merge_key) for name in names):
            shown, wanted = show_go_value(items), show_go_value(order)
            detail = f"The order in patch list:\n{shown}\n doesn't match {_ORDER[:-1]} list:\n{wanted}\n"
            raise PatchError(detail)


def _identity(item: Any, merge_key: str) -> Any:
    return _key_of(item, merge_key) if merge_key else item


def _order(items: list[Any], old: list[Any], wanted: list[Any], merge_key: str) -> list[Any]:
    """Items named in ``wanted`` take its order; each other goes before the first of them that was behind it."""
    names = [_identity(entry, merge_key) for entry in wanted]
    places = [_identity(item, merge_key) for item in old]
    named = [item for item in items if _identity(item, merge_key) in names]
    named.sort(key=lambda item: names.index(_identity(item, merge_key)))
    others = [item for item in items if _identity(item, merge_key) not in names]
    others.sort(key=lambda item: _place(places, _identity(item, merge_key)))
    result: list[Any] = []
    waiting = iter(named)
    following = next(waiting, _NOTHING)
    for other in others:
        place = _place(places, _identity(other, merge_key))
        while following is not _NOTHING and not place < _place(places, _identity(following, merge_key)) < len(places):
            result.append(following)
            following = next(waiting, _NOTHING)
        result.append(other)
    return result + ([] if following is _NOTHING else [following, *waiting])


def _place(places: list[Any], name: Any) -> int:
    """Position in the old list; behind all of it for a new item."""
    return places.index(name) if name in places else len(places)
