"""From the path of a field, as the API writes it, to its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from podhost.manifests.yaml_nodes import Key, Node

_STEP = re.compile(r"\[([^\]]*)\]|\.?([^.\[\]]+)")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where to point; lines and columns count from 0."""

    line: int
    column: int
    end_column: int
    is_exact: bool = True
    """Is it the field itself, not the nearest thing above that is there?"""
    node: Node | None = None


def split_path(path: str) -> list[str]:
    """``spec.containers[0].name`` → ``spec``, ``containers``, ``0``, ``name``."""
    return [index if index or not name else name for index, name in _STEP.findall(path)]


def is_below(path: str, above: str) -> bool:
    """Is ``path`` the field ``above`` or within it?"""
    steps, start = split_path(path), split_path(above)
    return steps[: len(start)] == start


def find_spot(root: Node, path: str, *, at_key: bool = False) -> Spot:
    """The value at a path, or its key; the nearest key above when it is not there."""
    node, key = root, None
    steps = split_path(path)
    taken = 0
    while taken < len(steps):
        following, used = _descend(node, steps, taken)
        if following is None:
            break
        key, node = following
        taken += used
    exact = taken == len(steps)
    if exact and not at_key and node.kind == "scalar" and node.end_column + node.end_line > node.column + node.line:
        return spot_of(node)
    if key is not None:
        return Spot(key.line, key.column, key.end_column, exact, node)
    first = _first_key(node)
    return Spot(first.line, first.column, first.end_column, exact, node) if first else spot_of(node, exact=exact)


def _descend(node: Node, steps: list[str], at: int) -> tuple[tuple[Key | None, Node] | None, int]:
    """One step down; keys with dots in them take several names."""
    if node.kind == "list":
        index = int(steps[at]) if steps[at].isdigit() else -1
        return ((None, node.items[index]), 1) if 0 <= index < len(node.items) else (None, 0)
    for used in range(1, len(steps) - at + 1):
        name = ".".join(steps[at : at + used])
        for key, child in node.entries:
            if key.name == name:
                return (key, child), used
    return None, 0


def _first_key(node: Node) -> Key | None:
    return node.entries[0][0] if node.entries else None


def spot_of(node: Node, *, exact: bool = True) -> Spot:
    """A value itself; of one that spans lines, its first line."""
    end = node.end_column if node.end_line == node.line else node.column + 1
    return Spot(node.line, node.column, max(end, node.column + 1), exact, node)


def find_by_names(root: Node, names: tuple[str, ...]) -> Iterator[tuple[Key, Node, str]]:
    """All values at a path of names, lists passed through (Go's decoding errors carry no index)."""

    def visit(node: Node, rest: tuple[str, ...], path: str, key: Key | None) -> Iterator[tuple[Key, Node, str]]:
        if node.kind == "list":
            for index, item in enumerate(node.items):
                yield from visit(item, rest, f"{path}[{index}]", key)
        elif not rest:
            if key is not None:
                yield key, node, path
        else:
            for child_key, child in node.entries:
                if child_key.name == rest[0]:
                    yield from visit(child, rest[1:], f"{path}.{child_key.name}".lstrip("."), child_key)
        if node.kind == "list" and not rest and key is not None:
            yield key, node, path

    yield from visit(root, names, "", None)
