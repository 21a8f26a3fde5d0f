"""Objects walked along the schema: which fields they have, how two differ, how they merge, and removal of fields.

Values are JSON; none is ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from podhost.api.apply.field_sets import MEMBER, Fields, Step, format_step, is_member, make_node
from podhost.api.apply.shapes import Shape
from podhost.errors import InvalidError

Obj = dict[str, Any]


class TypedError(InvalidError):
    """A configuration that the schema does not allow."""


@dataclass(slots=True)
class Comparison:
    """Fields in which a new object differs from an old one."""

    added: Fields = field(default_factory=dict)
    removed: Fields = field(default_factory=dict)
    modified: Fields = field(default_factory=dict)


def collect_fields(value: Any, shape: Shape) -> Fields:
    """The fields that a configuration claims: its leaves, its list items, its free keys."""
    return _collect(value, shape) or {}


def _collect(value: Any, shape: Shape) -> Fields | None:
    """``None``: the value itself is a leaf."""
    if shape.leaf or not isinstance(value, dict | list):
        return None
    children: Fields = {}
    if isinstance(value, list):
        for step, item in zip(_steps(value, shape), value, strict=True):
            inner = _collect(item, shape.item) if shape.item is not None else None
            children[step] = make_node(inner or {}, member=True)
        return children
    for name, child in value.items():
        below = shape.child(name)
        inner = None if below is None else _collect(child, below)
        leaf = inner is None or child is None or child == {} or not shape.declares(name)
        node = make_node(inner or {}, member=leaf)
        if node is not None:
            children["f:" + name] = node
    return children


def _steps(items: list[Any], shape: Shape) -> list[Step]:
    return [shape.step(item, index) for index, item in enumerate(items)]


def compare(old: Any, new: Any, shape: Shape) -> Comparison:
    """What writing ``new`` over ``old`` adds, removes and modifies, containers included."""
    result = Comparison()
    _compare_members(old, new, shape, result)
    return result


def _compare_members(old: Any, new: Any, shape: Shape, found: Comparison) -> None:
    if shape.kind in ("list", "set"):
        _compare_items(old, new, shape, found)
        return
    for name in old:
        if name not in new:
            _note(found.removed, "f:" + name, _everything(old[name], shape.child(name)))
    for name, value in new.items():
        below = shape.child(name)
        if name not in old:
            _note(found.added, "f:" + name, _everything(value, below))
        elif old[name] != value or type(old[name]) is not type(value):
            _compare_one(old[name], value, below, "f:" + name, found)


def _compare_items(old: list[Any], new: list[Any], shape: Shape, found: Comparison) -> None:
    olds, news = _grouped(old, shape), _grouped(new, shape)
    for step, items in olds.items():
        if step not in news:
            _note(found.removed, step, _everything(items[0], shape.item))
    for step, items in news.items():
        before = olds.get(step)
        if before is None:
            _note(found.added, step, _everything(items[0], shape.item))
        elif len(before) == len(items) == 1:
            if before != items:
                _compare_one(before[0], items[0], shape.item, step, found)
        elif before != items:
            _note(found.modified, step, MEMBER)


def _grouped(items: list[Any], shape: Shape) -> dict[Step, list[Any]]:
    grouped: dict[Step, list[Any]] = {}
    for step, item in zip(_steps(items, shape), items, strict=True):
        grouped.setdefault(step, []).append(item)
    return grouped


def _compare_one(old: Any, new: Any, shape: Shape | None, step: Step, found: Comparison) -> None:
    """Two different values of the same place."""
    descend = shape is not None and not shape.leaf and _same_container(old, new) and (old or new)
    if not descend or shape is None:
        _note(found.modified, step, MEMBER)
        return
    inner = Comparison()
    _compare_members(old if old is not None else _empty(new), new if new is not None else _empty(old), shape, inner)
    for mine, below in (
        (found.added, inner.added),
        (found.removed, inner.removed),
        (found.modified, inner.modified),
    ):
        if below:
            _note(mine, step, below)


def _same_container(old: Any, new: Any) -> bool:
    """Both are lists, or both objects; ``null`` stands for an empty one."""
    kinds = {type(value) for value in (old, new) if value is not None}
    return kinds in ({dict}, {list})


def _empty(value: Any) -> Any:
    return [] if isinstance(value, list) else {}


def _note(fields: Fields, step: Step, node: Fields) -> None:
    fields[step] = node


def _everything(value: Any, shape: Shape | None) -> Fields:
    """The value and all below it, each container a member."""
    if shape is None or shape.leaf or not value or not isinstance(value, dict | list):
        return MEMBER
    node: Fields = {".": MEMBER}
    if isinstance(value, list):
        for step, item in zip(_steps(value, shape), value, strict=True):
            node[step] = _everything(item, shape.item)
    else:
        for name, child in value.items():
            node["f:" + name] = _everything(child, shape.child(name))
    return node


def merge(live: Any, config: Any, shape: Shape) -> Any:
    """The live value with the configuration over it."""
    if shape.leaf:
        return config
    if isinstance(config, list) and isinstance(live, list):
        return _merge_items(live, config, shape)
    if not isinstance(config, dict) or not isinstance(live, dict):
        return config
    merged = dict(live)
    for name, value in config.items():
        below = shape.child(name)
        old = live.get(name)
        merged[name] = value if old is None or below is None else merge(old, value, below)
    return merged


def _merge_items(live: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    """Items of both in the configuration's order; those of the live list alone stay behind their neighbours."""
    olds, news = _steps(live, shape), _steps(config, shape)
    wanted = set(news)
    known: dict[Step, Any] = {}
    for step, item in zip(olds, live, strict=True):
        known.setdefault(step, item)
    result: list[Any] = []
    position = 0
    for step, item in zip(news, config, strict=True):
        if step in known:
            position = _pass_unmentioned(result, live, olds, position, wanted, until=step)
            item = merge(known[step], item, shape.item) if shape.item is not None else item
        result.append(item)
    _pass_unmentioned(result, live, olds, position, wanted, until="")
    return result


def _pass_unmentioned(
    result: list[Any], live: list[Any], olds: list[Step], position: int, wanted: set[Step], *, until: Step
) -> int:
    """Take over live items that no configuration mentions, up to the one named; where to go on."""
    if until and until not in olds[position:]:
        return position
    while position < len(olds):
        step, item = olds[position], live[position]
        position += 1
        if step == until:
            break
        if step not in wanted:
            result.append(item)
    return position


def remove_fields(value: Any, fields: Fields, shape: Shape) -> Any:
    """The value without these fields."""
    if not fields or shape.leaf or not value:
        return value
    if isinstance(value, list):
        pairs = zip(_steps(value, shape), value, strict=True)
        return list(_kept(pairs, fields, shape))
    if not isinstance(value, dict):
        return value
    kept: Obj = {}
    for name, child in value.items():
        node = fields.get("f:" + name)
        if node is None:
            kept[name] = child
        elif not is_member(node):
            below = shape.child(name)
            left = child if below is None else remove_fields(child, node, below)
            kept[name] = left or (None if child else child)
    return kept


def _kept(pairs: Iterable[tuple[Step, Any]], fields: Fields, shape: Shape) -> Iterator[Any]:
    for step, item in pairs:
        node = fields.get(step)
        if node is None:
            yield item
        elif not is_member(node):
            yield item if shape.item is None else remove_fields(item, node, shape.item)


def with_named_fields(fields: Fields, shape: Shape | None) -> Fields:
    """The set with every field of the schema on the way to a member being one too."""
    result: Fields = {}
    for step, node in fields.items():
        if step == ".":
            result[step] = node
            continue
        below = _below(shape, step)
        children = with_named_fields(node, below)
        named = shape is not None and step.startswith("f:") and shape.declares(step[2:])
        if named and children and "." not in children:
            children = {".": MEMBER, **children}
        result[step] = children
    return result


def _below(shape: Shape | None, step: Step) -> Shape | None:
    if shape is None or shape.leaf:
        return None
    return shape.child(step[2:]) if step.startswith("f:") and shape.kind in ("struct", "map") else shape.item


def check_config(value: Any, shape: Shape) -> None:
    """Raises TypedError with structured merge's words for all that the schema does not allow."""
    problems = list(_problems(value, shape, ""))
    if problems:
        raise TypedError(problems[0] if len(problems) == 1 else "errors:\n" + "".join(f"  {p}\n" for p in problems))


def _problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if value is None:
        return
    kind = shape.type.kind
    if kind == "any":
        return
    if kind == "list":
        yield from _list_problems(value, shape, path)
    elif kind in ("ref", "map"):
        yield from _map_problems(value, shape, path)
    elif problem := _scalar_problem(value, kind):
        yield f"{path}: {problem}"


def _map_problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected map, got {_go_value(value)}"
        return
    for name, child in value.items():
        below = _member_shape(shape, name)
        if below is None:
            yield f"{path}.{name}: field not declared in schema"
        else:
            yield from _problems(child, below, f"{path}.{name}")


def _member_shape(shape: Shape, name: str) -> Shape | None:
    """As ``Shape.child``, also within atomic maps."""
    if shape.type.kind == "ref":
        return Shape("struct", shape.type).child(name)
    item = shape.type.item
    return shape.item or (None if item is None else Shape("atomic", item))


def _list_problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got {_go_value(value)}"
        return
    seen: set[Step] = set()
    for index, item in enumerate(value):
        step = f"i:{index}" if shape.kind == "atomic" else shape.step(item, index)
        if shape.kind in ("list", "set") and step.startswith("i:"):
            yield f"{path}: element {index}: {_unaddressable(item, shape)}"
            continue
        if step in seen:
            yield f"{path}: duplicate entries for key {format_step(step)}"
        seen.add(step)
        below = shape.item or (Shape("atomic", shape.type.item) if shape.type.item is not None else None)
        if below is not None:
            yield from _problems(item, below, path + format_step(step))


def _unaddressable(item: Any, shape: Shape) -> str:
    if shape.kind == "set":
        what = "map" if isinstance(item, dict) else "list"
        return f"associative list without keys has an element that's a {what} type"
    if not isinstance(item, Mapping):
        return "associative list with keys may not have non-map elements"
    missing = shape.missing_key(item)
    return (
        f'associative list with keys has an element that omits key field "{missing}" (and doesn\'t have default value)'
    )


def _scalar_problem(value: Any, kind: str) -> str:
    match kind:
        case "string" | "bytes" if not isinstance(value, str):
            return f"expected string, got {_go_value(value)}"
        case "bool" if not isinstance(value, bool):
            return f"expected boolean, got {_go_value(value)}"
        case "int32" | "int64" | "float64" if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected numeric (int or float), got {_go_value(value)}"
        case "quantity" | "intorstring" | "time" | "microtime" if isinstance(value, dict | list | bool):
            return f"expected scalar, got {_go_value(value)}"
    return ""


def _go_value(value: Any) -> str:
    """As structured merge shows a value: its JSON for a scalar, a word for the rest."""
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
