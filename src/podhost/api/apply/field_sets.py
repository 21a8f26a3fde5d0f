"""Sets of fields, in the form in which ``managedFields`` holds them (``fieldsV1``).

A set is a tree of dictionaries: ``{"f:spec": {"f:replicas": {}, "f:template": {".": {}, "f:x": {}}}}``.  A node that is
empty or has a ``"."`` is a member itself; every other node is only on the way to its children.  Steps are
``f:NAME``, ``k:{"key":"value"}`` (item of a keyed list), ``v:VALUE`` (item of a set) and ``i:INDEX``.
The functions share nodes and never change one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

Fields = dict[str, Any]
"""A set; the root is never a member."""
Step = str

MEMBER: Fields = {}
_SELF = "."
MAX_DEPTH = 100


def is_member(node: Fields) -> bool:
    return not node or _SELF in node


def make_node(children: Fields, *, member: bool) -> Fields | None:
    """A node below the root; ``None`` when nothing is in it."""
    if not children:
        return MEMBER if member else None
    return {_SELF: MEMBER, **children} if member else children


def _combine(
    one: Fields, other: Fields, keep: Callable[[bool, bool], bool], *, only_one: bool, only_other: bool
) -> Fields:
    """Children of two nodes: where only one of the sets has a step, its subtree is taken whole or not at all."""
    result: Fields = {}
    for step, node in one.items():
        if step == _SELF:
            continue
        twin = other.get(step)
        if twin is None:
            if only_one:
                result[step] = node
            continue
        children = _combine(node, twin, keep, only_one=only_one, only_other=only_other)
        made = make_node(children, member=keep(is_member(node), is_member(twin)))
        if made is not None:
            result[step] = made
    if only_other:
        result.update((step, node) for step, node in other.items() if step != _SELF and step not in one)
    return result


def union(one: Fields, other: Fields) -> Fields:
    if not one or not other:
        return one or other
    return _combine(one, other, lambda a, b: a or b, only_one=True, only_other=True)


def difference(one: Fields, other: Fields) -> Fields:
    """Members of ``one`` that are not members of ``other``."""
    if not one or not other:
        return one
    return _combine(one, other, lambda a, b: a and not b, only_one=True, only_other=False)


def intersection(one: Fields, other: Fields) -> Fields:
    if not one or not other:
        return {}
    return _combine(one, other, lambda a, b: a and b, only_one=False, only_other=False)


def without_subtrees(one: Fields, other: Fields) -> Fields:
    """Members of ``one`` that are neither members of ``other`` nor below one."""
    result: Fields = {}
    for step, node in one.items():
        twin = other.get(step) if step != _SELF else None
        if step == _SELF or twin is None:
            result[step] = node
        elif not is_member(twin):
            made = make_node(_children(without_subtrees(node, twin)), member=is_member(node))
            if made is not None:
                result[step] = made
    return result


def _children(node: Fields) -> Fields:
    return {step: child for step, child in node.items() if step != _SELF}


def from_paths(*paths: tuple[Step, ...]) -> Fields:
    root: Fields = {}
    for path in paths:
        root = union(root, _chain(path))
    return root


def _chain(path: tuple[Step, ...]) -> Fields:
    node: Fields = MEMBER
    for step in reversed(path):
        node = {step: node}
    return node


def paths(fields: Fields) -> Iterator[tuple[Step, ...]]:
    """All members, sorted, those of a level before those below."""
    steps = sorted((step for step in fields if step != _SELF), key=_order)
    for step in steps:
        if is_member(fields[step]):
            yield (step,)
    for step in steps:
        for rest in paths(fields[step]):
            yield (step, *rest)


def sort_fields(fields: Fields) -> Fields:
    """The same set with its steps in Kubernetes' order."""
    if not fields:
        return fields
    return {step: sort_fields(fields[step]) for step in sorted(fields, key=_order)}


def _order(step: Step) -> tuple[int, str]:
    return ".fkvi".find(step[0]), step


def check_fields(document: Any, depth: int = 0) -> Fields | None:
    """A set that came from outside, without a member at its root; ``None`` when it is none."""
    if not isinstance(document, Mapping) or depth > MAX_DEPTH:
        return None
    checked: Fields = {}
    for step, node in document.items():
        if step == _SELF:
            if depth:
                checked[step] = MEMBER
            continue
        child = check_fields(node, depth + 1) if _is_step(step) else None
        if child is None:
            return None
        checked[step] = child
    return checked


def _is_step(step: str) -> bool:
    kind, colon, text = step.partition(":")
    if not colon:
        return False
    if kind == "f":
        return True
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    if kind == "k":
        return isinstance(value, dict) and bool(value)
    return kind == "v" or (kind == "i" and type(value) is int)


def key_step(keys: Mapping[str, Any]) -> Step:
    return "k:" + _compact(keys)


def value_step(value: Any) -> Step:
    return "v:" + _compact(value)


def _compact(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def format_path(path: tuple[Step, ...]) -> str:
    """``.spec.containers[name="web"].image``."""
    return "".join(map(format_step, path))


def format_step(step: Step) -> str:
    kind, text = step[0], step[2:]
    if kind == "f":
        return "." + text
    if kind == "i":
        return f"[{text}]"
    value = msgspec.json.decode(text)
    if kind == "v":
        return f"[={_show(value)}]"
    return "[" + ",".join(f"{name}={_show(part)}" for name, part in sorted(value.items())) + "]"


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
