"""YAML with the place of every key and value.

libyaml's parser through PyYAML; scalars are resolved as kubectl's parser does (YAML 1.1 words, but neither dates nor
base-60 numbers).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

_DEPTH_MAX = 100
_NODES_MAX = 200_000
_TOO_DEEP = f"this is nested deeper than {_DEPTH_MAX} levels"
_TOO_MANY = f"these are more than {_NODES_MAX:,} values, counted with what aliases repeat"
_CIRCLE = "an alias within this value refers to the value itself"
_TAGS = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset({"null", "bool", "int", "float", "str", "timestamp", "map", "seq", "binary", "value", "merge"})


class YamlFaultError(Exception):
    """What the parser says.  Lines and columns count from 0; ``context_line`` is -1 when there is none."""

    def __init__(
        self,
        problem: str,
        line: int,
        column: int,
        *,
        context: str = "",
        context_line: int = -1,
        context_column: int = 0,
        is_final: bool = False,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column
        self.context = context
        self.context_line = context_line
        self.context_column = context_column
        self.is_final = is_final
        """Nothing is gained by reading on without this line."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a mapping as written (``text``) and as read (``name``)."""

    name: str
    text: str
    line: int
    column: int
    end_column: int
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; lines and columns count from 0."""

    kind: Literal["map", "list", "scalar"]
    line: int
    column: int
    end_line: int
    end_column: int
    scalar: Any = None
    text: str = ""
    """A scalar as written, without its quotes."""
    plain: bool = False
    """A scalar without quotes."""
    entries: tuple[tuple[Key, Node], ...] = ()
    items: tuple[Node, ...] = ()
    duplicates: tuple[tuple[Key, Key], ...] = ()
    """Keys that were there before, each with the first of its name."""

    def value(self) -> Any:
        """As JSON data."""
        if self.kind == "map":
            return {key.name: child.value() for key, child in self.entries}
        if self.kind == "list":
            return [child.value() for child in self.items]
        return self.scalar

    def get(self, name: str) -> Node | None:
        return next((child for key, child in self.entries if key.name == name), None)

    def key(self, name: str) -> Key | None:
        return next((key for key, _ in self.entries if key.name == name), None)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for _, child in self.entries:
            yield from child.walk()
        for child in self.items:
            yield from child.walk()


def parse_document(text: str) -> Node | None:
    """The one document of a text; ``None`` when there is nothing in it.  Raises YamlFaultError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        root = loader.get_node() if loader.check_node() else None
        return None if root is None else _Builder().build(root, 0)
    except yaml.MarkedYAMLError as error:
        raise _fault(error) from error
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        # libyaml counts bytes, PyYAML's own reader characters.
        is_c = isinstance(loader, getattr(yaml, "CSafeLoader", ()))
        before = text.encode()[:position].decode(errors="ignore") if is_c else text[:position]
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        raise YamlFaultError(f"character #x{_code_of(error):04x} cannot be in YAML", line, column) from error
    except (RecursionError, ValueError) as error:
        raise YamlFaultError(str(error) or "nested too deep", 0, 0) from error
    finally:
        loader.dispose()


def _code_of(error: yaml.reader.ReaderError) -> int:
    return error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")


def _fault(error: yaml.MarkedYAMLError) -> YamlFaultError:
    mark = error.problem_mark or error.context_mark
    context = error.context_mark
    if mark is not None and "nesting depth" in (error.problem or ""):
        return YamlFaultError(_TOO_DEEP, mark.line, mark.column, is_final=True)
    return YamlFaultError(
        error.problem or "not YAML",
        mark.line if mark else 0,
        mark.column if mark else 0,
        context=error.context or "",
        context_line=context.line if context else -1,
        context_column=context.column if context else 0,
    )


class _Builder:
    def __init__(self) -> None:
        self._open: set[int] = set()
        self._count = 0

    def build(self, node: Any, depth: int) -> Node:
        start, end = node.start_mark, node.end_mark
        self._count += 1
        if depth > _DEPTH_MAX or self._count > _NODES_MAX:
            what = _TOO_DEEP if depth > _DEPTH_MAX else _TOO_MANY
            raise YamlFaultError(what, start.line, start.column, is_final=True)
        place = (start.line, start.column, end.line, end.column)
        if id(node) in self._open:
            raise YamlFaultError(_CIRCLE, start.line, start.column, is_final=True)
        self._check_tag(node)
        if isinstance(node, yaml.ScalarNode):
            plain = not node.style
            return Node("scalar", *place, scalar=_resolve(node), text=str(node.value), plain=plain)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Node("list", *place, items=tuple(self.build(item, depth + 1) for item in node.value))
            return self._build_map(node, place, depth)
        finally:
            self._open.discard(id(node))

    def _check_tag(self, node: Any) -> None:
        if not str(node.tag).startswith(_TAGS) or node.tag.removeprefix(_TAGS) not in _KNOWN_TAGS:
            raise YamlFaultError(f"the tag {node.tag} is not known", node.start_mark.line, node.start_mark.column)

    def _build_map(self, node: Any, place: tuple[int, int, int, int], depth: int) -> Node:
        entries: dict[str, tuple[Key, Node]] = {}
        merged: list[tuple[Key, Node]] = []
        duplicates = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                mark = key_node.start_mark
                raise YamlFaultError("a key must be a word, not a list or a mapping", mark.line, mark.column)
            key = _key(key_node)
            value = self.build(value_node, depth + 1)
            if key_node.tag == _TAGS + "merge":
                merged += [entry for source in (value.items or (value,)) for entry in source.entries]
            elif key.name in entries:
                duplicates.append((key, entries[key.name][0]))
            else:
                entries[key.name] = (key, value)
        for key, value in merged:
            entries.setdefault(key.name, (key, value))
        return Node("map", *place, entries=tuple(entries.values()), duplicates=tuple(duplicates))


def _key(node: Any) -> Key:
    value = _resolve(node)
    name = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(node.value)
    end = node.end_mark.column if node.end_mark.line == node.start_mark.line else node.start_mark.column + 1
    return Key(name, str(node.value), node.start_mark.line, node.start_mark.column, end, not node.style)


def _resolve(node: Any) -> Any:
    tag, text = str(node.tag).removeprefix(_TAGS), str(node.value)
    if node.style and tag == "str":
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("yes", "true", "on")
    if tag == "int" and ":" not in text:
        return _integer(text)
    if tag == "float" and ":" not in text:
        return _float(text)
    return text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    try:
        if digits.startswith(("0x", "0b", "0o")):
            return sign * int(digits, 0)
        return sign * int(digits, 8 if len(digits) > 1 and digits.startswith("0") else 10)
    except ValueError:
        return text


def _float(text: str) -> float | str:
    digits = text.replace("_", "").lower()
    try:
        number = float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    # JSON has no such numbers.
    return number if math.isfinite(number) else text
