"""Fields and types of a document against the schema, each fault at its key or value."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from podhost.api import quantity, time
from podhost.api.schema import Definition, Type, definition
from podhost.manifests.faults import Fault
from podhost.manifests.places import Spot, spot_of
from podhost.manifests.spelling import meant_name, nearest_name
from podhost.manifests.yaml_nodes import Key, Node

_SHOWN_MAX = 80
_AMBIGUOUS_KEYS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})
_WORDS = {
    "string": "text",
    "bool": "`true` or `false`",
    "int32": "a whole number",
    "int64": "a whole number",
    "float64": "a number",
    "quantity": "a quantity such as `500m` or `128Mi`",
    "intorstring": "a number or a name",
    "time": "a time such as `2026-01-31T12:00:00Z`",
    "microtime": "a time such as `2026-01-31T12:00:00.000000Z`",
    "bytes": "base64 text",
    "list": "a list",
    "map": "a mapping",
    "ref": "a mapping",
}


@dataclass(slots=True)
class Structure:
    """``document`` has only what fits; ``bad_paths`` is where something was left out."""

    document: Any
    faults: list[Fault] = field(default_factory=list)
    bad_paths: list[str] = field(default_factory=list)
    suggested: set[str] = field(default_factory=set)
    """Paths of fields that were probably meant by misspelt ones."""


def check_fields(root: Node, schema: str) -> Structure:
    """Faults in the order of the text."""
    result = Structure(None)
    _Walker(result).visit_root(root, definition(schema))
    return result


def make_fault(
    spot: Spot, code: str, message: str, meant: str = "", *, path: str = "", severity: Any = "error"
) -> Fault:
    return Fault(
        line=spot.line + 1,
        column=spot.column + 1,
        end_column=spot.end_column + 1,
        code=code,
        message=message,
        meant=meant,
        field=path,
        severity=severity,
    )


def key_spot(key: Key) -> Spot:
    return Spot(key.line, key.column, key.end_column)


def duplicate_faults(node: Node) -> Iterator[Fault]:
    """Keys that are set twice, anywhere in a document."""
    for part in node.walk():
        for key, first in part.duplicates:
            message = f"`{key.name}` is set already in line {first.line + 1}"
            yield make_fault(key_spot(key), "duplicate-key", message, "keep one of the two, or begin a new list item")


def ambiguous_key_faults(node: Node) -> Iterator[Fault]:
    """Keys that YAML 1.1 reads as something else than text."""
    for part in node.walk():
        for key, _ in part.entries:
            if key.plain and key.text.lower() in _AMBIGUOUS_KEYS:
                read = "null" if key.text.lower() in ("null", "~") else key.text.lower() in ("y", "yes", "on", "true")
                shown = str(read).lower()
                if shown != key.text:
                    message = f"kubectl reads the key `{key.text}` as `{shown}` (YAML 1.1)"
                    yield make_fault(
                        key_spot(key),
                        "yaml-1.1",
                        message,
                        f'put it in quotes: `"{key.text}":`',
                        severity="warning",
                    )


class _Walker:
    def __init__(self, result: Structure) -> None:
        self.result = result
        self.owners: list[Definition] = []

    def visit_root(self, root: Node, owner: Definition) -> None:
        self.result.document = self._struct(root, owner, "") if root.kind == "map" else {}

    def _struct(self, node: Node, owner: Definition, path: str) -> dict[str, Any]:
        document = {}
        self.owners.append(owner)
        for key, child in node.entries:
            where = f"{path}.{key.name}" if path else key.name
            facts = owner.fields.get(key.name)
            if facts is None:
                self._unknown(key, owner, path, node)
            elif (value := self._value(child, facts.type, where, key)) is not None:
                document[key.name] = value
        self.owners.pop()
        return document

    def _value(self, node: Node, wanted: Type, path: str, key: Key | None) -> Any:
        """``None``: left out."""
        if node.kind == "scalar" and node.scalar is None and wanted.kind != "any":
            return None
        match wanted.kind:
            case "any":
                return node.value()
            case "ref" if node.kind == "map":
                return self._struct(node, definition(wanted.ref), path)
            case "map" if node.kind == "map" and wanted.item is not None:
                item = wanted.item
                values = {k.name: self._value(child, item, f"{path}[{k.name}]", k) for k, child in node.entries}
                return {name: value for name, value in values.items() if value is not None}
            case "list" if node.kind == "list" and wanted.item is not None:
                return self._list(node, wanted.item, path)
            case "ref" | "map" | "list":
                return self._mismatch(node, wanted, path, key)
        if node.kind != "scalar" or (problem := _scalar_problem(node.scalar, wanted.kind)):
            detail = problem if node.kind == "scalar" and problem != "type" else ""
            return self._mismatch(node, wanted, path, key, detail)
        return node.scalar

    def _list(self, node: Node, item: Type, path: str) -> list[Any]:
        values = []
        for index, child in enumerate(node.items):
            value = self._value(child, item, f"{path}[{index}]", None)
            # The index of what follows must stay.
            values.append(_blank(item) if value is None else value)
        return values

    def _mismatch(self, node: Node, wanted: Type, path: str, key: Key | None, detail: str = "") -> None:
        spot = spot_of(node) if node.kind == "scalar" or key is None else key_spot(key)
        name = key.name if key is not None else path.rpartition(".")[2]
        wants = _WORDS.get(wanted.kind, wanted.kind)
        message = f"`{name}` must be {wants}, and this is {_describe(node)}"
        if detail:
            message = f"`{name}` must be {wants}: {detail}"
        self.result.faults.append(make_fault(spot, "type", message, _advice(node, wanted, name), path=path))
        self.result.bad_paths.append(path)

    def _unknown(self, key: Key, owner: Definition, path: str, node: Node) -> None:
        where = f"{path}.{key.name}" if path else key.name
        there = {entry.name for entry, _ in node.entries}
        nearest = meant_name(key.name, set(owner.fields) - there) or nearest_name(key.name, owner.fields)
        message = f"unknown field `{key.name}` in {_place_name(path, owner)}"
        meant = ""
        if nearest:
            meant = f"`{key.name}`: did you mean `{nearest}`?"
            self.result.suggested.add(f"{path}.{nearest}" if path else nearest)
        elif home := self._home_of(key.name, owner, path):
            meant = f"`{key.name}` is a field of {home}"
            if path == "metadata" and home == "`spec`":
                meant += ": is the line `spec:` missing above it?"
                self.result.suggested.add("spec")
        self.result.faults.append(make_fault(key_spot(key), "unknown-field", message, meant, path=where))
        self.result.bad_paths.append(where)

    def _home_of(self, name: str, owner: Definition, path: str) -> str:
        """Where else around here there is a field of this name."""
        for outer in reversed(self.owners[:-1]):
            if name in outer.fields:
                return f"a {outer.short_name}"
        for around in (owner, *self.owners[-2:-1]):
            for key, facts in around.fields.items():
                if facts.type.element_ref and name in definition(facts.type.element_ref).fields:
                    return f"`{key}`" if facts.type.kind == "ref" else f"the items of `{key}`"
        return ""


def _place_name(path: str, owner: Definition) -> str:
    return f"`{path}`" if path else f"a {owner.short_name}"


def _blank(item: Type) -> Any:
    return {"ref": {}, "map": {}, "list": [], "bool": False, "int32": 0, "int64": 0, "intorstring": 0}.get(
        item.kind, ""
    )


def _scalar_problem(value: Any, kind: str) -> str:
    """``type``: another type; another text: what is wrong with it; empty: nothing."""
    match kind:
        case "string":
            return "" if type(value) is str else "type"
        case "bool":
            return "" if type(value) is bool else "type"
        case "int32" | "int64":
            limit = 2 ** (31 if kind == "int32" else 63)
            if type(value) is not int:
                return "type"
            return "" if -limit <= value < limit else f"{value} does not fit"
        case "float64":
            return "" if type(value) in (int, float) else "type"
        case "intorstring":
            if type(value) is str:
                return ""
            if type(value) is not int:
                return "type"
            return "" if -(2**31) <= value < 2**31 else f"{value} does not fit"
    return _text_problem(value, kind)


def _text_problem(value: Any, kind: str) -> str:
    try:
        if kind == "quantity":
            if type(value) not in (str, int, float):
                return "type"
            quantity.canonical(value)
        elif type(value) is not str:
            return "type"
        elif kind in ("time", "microtime"):
            time.parse_time(value)
        elif kind == "bytes":
            base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return f"`{_short(str(value))}` is none"
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "…"


def _describe(node: Node) -> str:
    if node.kind != "scalar":
        return f"a {'mapping' if node.kind == 'map' else 'list'}"
    value = node.scalar
    if isinstance(value, bool):
        return f"the boolean `{node.text}`"
    if isinstance(value, int | float):
        return f"the number `{node.text}`"
    return f"the text `{_short(node.text)}`"


def _advice(node: Node, wanted: Type, name: str) -> str:
    if node.kind == "scalar" and wanted.kind == "string":
        return f"put it in quotes: `{json.dumps(node.text, ensure_ascii=False)}`"
    if node.kind == "scalar" and wanted.kind in ("bool", "int32", "int64", "float64") and not node.plain:
        return f"without quotes: `{_short(node.text)}`"
    if wanted.kind == "list":
        return _advice_for_list(node, wanted, name)
    if wanted.kind in ("ref", "map") and node.kind == "list":
        return "leave out the `- `"
    if wanted.kind == "ref" and node.kind == "scalar":
        return _advice_for_struct(node, definition(wanted.ref), name)
    if wanted.kind == "string" and node.kind == "map" and len(node.entries) == 1:
        (key, child), *_ = node.entries
        return f"put it in quotes: `{json.dumps(f'{key.text}: {child.text}', ensure_ascii=False)}`"
    if wanted.kind == "quantity" and node.kind == "scalar":
        return _advice_for_quantity(node.text)
    return ""


def _advice_for_list(node: Node, wanted: Type, name: str) -> str:
    if node.kind == "map":
        first = node.entries[0] if node.entries else None
        pairs = wanted.item is not None and wanted.item.kind == "ref" and name == "env"
        if pairs and first is not None and first[0].name not in ("name", "value", "valueFrom"):
            value = json.dumps(first[1].text, ensure_ascii=False)
            return f"each variable is an item: `- name: {first[0].text}` and beneath it `  value: {value}`"
        return "begin each item with `- `"
    words = [node.text]
    if name in ("command", "args"):
        # A shell is needed for what only a shell understands; else each word is one of the program's arguments.
        words = ["sh", "-c", node.text] if re.search(r"[|&;<>$`*?~]", node.text) else _split_words(node.text)
    shown = ", ".join(json.dumps(word, ensure_ascii=False) for word in words)
    return f"`{name}: [{shown}]`" if len(shown) <= _SHOWN_MAX else "begin each item with `- `"


def _split_words(text: str) -> list[str]:
    """As a shell splits them; one that is not whole (a quote without its end) at its spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _advice_for_struct(node: Node, owner: Definition, name: str) -> str:
    """``hostPath: /srv`` for ``hostPath: {path: /srv}``: one field that must be set, and takes text."""
    needed = [field for field, facts in owner.fields.items() if facts.required and facts.type.kind == "string"]
    if len(needed) != 1 or not node.text:
        return ""
    return f"`{name}: {{{needed[0]}: {_short(node.text)}}}`"


def _advice_for_quantity(text: str) -> str:
    """``64MB`` and ``2 Gi``: what other tools write."""
    match = re.fullmatch(r"([\d.]+)\s*([kKmMgGtT])([iI]?)[bB]?", text.strip())
    if match is None:
        return ""
    number, unit, binary = match.groups()
    suffix = unit.upper() + "i" if binary or unit.upper() == "K" else unit.upper()
    other = f" or `{number}{unit.upper()}i`" if not binary and unit.upper() != "K" else ""
    return f"did you mean `{number}{suffix}`{other}?"
