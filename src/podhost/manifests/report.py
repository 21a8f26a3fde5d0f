"""All faults of a text, and the objects in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from podhost.api.schema import Type, definition
from podhost.manifests import content
from podhost.manifests.documents import Document, split_documents, split_lines
from podhost.manifests.faults import Fault
from podhost.manifests.frames import child_type
from podhost.manifests.layout import Layout, compute_layout
from podhost.manifests.lines import indentation, is_skipped
from podhost.manifests.places import find_spot, split_path
from podhost.manifests.server_errors import locate_status
from podhost.manifests.structure import make_fault
from podhost.manifests.yaml_nodes import Node, YamlFaultError, parse_document
from podhost.manifests.yaml_words import explain_yaml

_HEAD = re.compile(r"^[ \t]*(?:- )?(apiVersion|kind):[ \t]+[\"']?([\w./-]+)", re.MULTILINE)
_PARSE_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Found:
    """An object as its author wrote it.  ``line`` counts from 1; ``first_line`` (from 0) shifts the node's lines."""

    document: dict[str, Any]
    node: Node
    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class TextReport:
    lines: list[str]
    faults: list[Fault]
    objects: list[Found]
    """Only of documents without errors of layout and syntax."""


@dataclass(slots=True)
class _Reading:
    """One document, read as far as it can be."""

    node: Node | None
    layout: Layout | None
    faults: list[Fault]
    is_whole: bool


def check_text(text: str, *, namespace: str = "", with_warnings: bool = True, on_podhost: bool = False) -> TextReport:
    """Faults in the order of the text; several at once, in all its documents.  Flags: as of ``check_object``."""
    faults: list[Fault] = []
    objects: list[Found] = []
    for document in split_documents(text):
        reading = _read(document)
        found = list(reading.faults)
        if document.is_joined:
            found.insert(0, _missing_marker(document))
        for node in _object_nodes(reading.node):
            checked = content.check_object(
                node, namespace=namespace, with_warnings=with_warnings, is_whole=reading.is_whole, on_podhost=on_podhost
            )
            found += _in_original(checked, reading)
            if reading.layout is None and reading.is_whole and not document.is_joined and node.kind == "map":
                line = document.first_line + node.line + 1
                objects.append(Found(node.value(), node, line, document.first_line))
        faults += [shift_lines(_clamp(fault, document), document.first_line) for fault in found]
    unique = {(f.line, f.column, f.code, f.message): f for f in faults}
    return TextReport(split_lines(text), sorted(unique.values(), key=lambda f: (f.line, f.column)), objects)


def locate_nameless(objects: list[Found]) -> list[Fault]:
    """What no client can send: objects without apiVersion, kind or name."""
    faults = []
    for found in objects:
        metadata = found.document.get("metadata")
        named = isinstance(metadata, dict) and (metadata.get("name") or metadata.get("generateName"))
        for path, is_set in (
            ("apiVersion", isinstance(found.document.get("apiVersion"), str)),
            ("kind", isinstance(found.document.get("kind"), str)),
            ("metadata.name", bool(named)),
        ):
            if not is_set or not found.document.get(path, True):
                spot = find_spot(found.node, path, at_key=True)
                fault = make_fault(
                    spot, "invalid", f"`{path}` is not set", f"add `{path.rpartition('.')[2]}:`", path=path
                )
                faults.append(shift_lines(fault, found.first_line))
    return faults


def locate_in_object(
    document: Mapping[str, Any], node: Node, first_line: int, status: Mapping[str, Any]
) -> list[Fault]:
    """Faults that a server's ``Status`` tells, in the lines of the whole text."""
    root, _ = content.schema_type(str(document.get("apiVersion") or ""), str(document.get("kind") or ""))
    return [shift_lines(fault, first_line) for fault in locate_status(node, status, lambda path: fields_at(root, path))]


def fields_at(root: Type | None, path: str) -> list[str]:
    """Names of the fields at a path, as far as the schema is known."""
    found = root
    for step in split_path(path):
        while found is not None and found.kind in ("list", "map") and step.isdigit():
            found, step = found.item, ""
        if step:
            found = found.item if found is not None and found.kind == "list" else found
            found = child_type(found, step)
    while found is not None and found.kind == "list":
        found = found.item
    return list(definition(found.ref).fields) if found is not None and found.kind == "ref" else []


def mend_text(text: str) -> tuple[str, list[Fault]]:
    """The text with everything mended that has one reading only, and those faults.

    A text that would not be better afterwards comes back as it was.
    """
    mended, faults = _mend(text)
    if not faults or _count_errors(mended) >= _count_errors(text):
        return text, []
    return mended, faults


def _missing_marker(document: Document) -> Fault:
    """In the document's own lines."""
    number = next(index for index, line in enumerate(document.lines) if not is_skipped(line))
    return Fault(
        line=number + 1,
        column=1,
        end_column=1 + len(document.lines[number].partition(":")[0]),
        code="layout",
        message="a second object begins here, and no line `---` divides it from the one above",
        meant="put a line `---` above it",
        mendable=True,
    )


def _count_errors(text: str) -> int:
    return sum(fault.severity == "error" for fault in check_text(text, with_warnings=False).faults)


def _mend(text: str) -> tuple[str, list[Fault]]:
    lines = split_lines(text)
    mended: list[Fault] = []
    dividers: list[int] = []
    for document in split_documents(text):
        reading = _read(document)
        if document.is_joined:
            dividers.append(document.first_line)
            mended.append(shift_lines(_missing_marker(document), document.first_line))
        if reading.layout is None:
            continue
        layout = compute_layout(document.lines, *_schema_of(document), only_certain=True)
        lines[document.first_line : document.first_line + len(document.lines)] = _with_markers(
            layout.lines, document, lines
        )
        mended += [shift_lines(fault, document.first_line) for fault in reading.layout.faults if fault.mendable]
    for number in reversed(dividers):
        lines.insert(number, "---")
    end = "\r\n" if "\r\n" in text else "\n"
    return end.join(lines) + (end if text.endswith("\n") else ""), mended


def _with_markers(mended: list[str], document: Document, lines: list[str]) -> list[str]:
    """The document's lines; those that did not change exactly as they were (``---``, ``%YAML``)."""
    there = lines[document.first_line : document.first_line + len(document.lines)]
    return [new if new != old else kept for new, old, kept in zip(mended, document.lines, there, strict=True)]


def shift_lines(fault: Fault, by: int) -> Fault:
    """The same fault in a text whose document begins ``by`` lines further down."""
    if not by:
        return fault

    def move(match: re.Match[str]) -> str:
        return match[1] + re.sub(r"\d+", lambda number: str(int(number[0]) + by), match[2])

    def words(text: str) -> str:
        return re.sub(r"(\blines? )(\d+(?: to \d+)?)", move, text)

    return replace(
        fault,
        line=fault.line + by,
        end_line=fault.end_line + by if fault.end_line else 0,
        shown=tuple(line + by for line in fault.shown),
        message=words(fault.message),
        meant=words(fault.meant),
    )


def _schema_of(document: Document) -> tuple[Any, str]:
    head: dict[str, str] = {}
    for match in _HEAD.finditer(document.text):
        head.setdefault(match[1], match[2])
    return content.schema_type(head.get("apiVersion", "v1"), head.get("kind", ""))


def _read(document: Document) -> _Reading:
    """As the text stands if that has sense, else as its layout was probably meant."""
    error = None
    try:
        node = parse_document(document.text)
        before = _count_strange(node)
        if not before:
            return _Reading(node, None, [], True)
    except YamlFaultError as problem:
        node, error, before = None, problem, 1_000_000
    layout = compute_layout(document.lines, *_schema_of(document))
    if layout.faults:
        reading = _read_mended(layout, document)
        # A text that can be read is only doubted when another layout leaves nothing of it out.
        is_better = not layout.left_out and reading.node is not None and _count_strange(reading.node) < before
        if error is not None or is_better:
            return reading
    if error is None:
        return _Reading(node, None, [], True)
    return _read_around(list(document.lines), document, [])


def _count_strange(node: Node | None) -> int:
    """Unknown fields, duplicates and values of a wrong type: what misplaced lines leave in a text that parses.

    What stands beneath an unknown field counts too, or every key could be explained away by moving it there.
    """
    return sum(
        1 + (_count_keys(find_spot(part, fault.field).node) if fault.code == "unknown-field" else 0)
        for part in _object_nodes(node)
        for fault in content.check_object(part, with_warnings=False)
        if fault.code in ("unknown-field", "duplicate-key", "type")
    )


def _count_keys(node: Node | None) -> int:
    return sum(len(part.entries) for part in node.walk()) if node is not None else 0


def _read_mended(layout: Layout, document: Document) -> _Reading:
    told = len(layout.faults)
    reading = _read_around(list(layout.lines), document, list(layout.faults))
    reading.layout = layout
    reading.faults[told:] = _in_original(reading.faults[told:], reading)
    reading.is_whole = reading.is_whole and not layout.neutral
    return reading


def _read_around(lines: list[str], document: Document, faults: list[Fault]) -> _Reading:
    """Parse; at each fault take its line out and try again, so that what else is wrong is found too."""
    is_whole = True
    for _ in range(_PARSE_ATTEMPTS):
        try:
            return _Reading(parse_document("\n".join(lines) + "\n"), None, faults, is_whole)
        except YamlFaultError as error:
            fault = explain_yaml(error, lines)
            is_whole = False
            # What follows from a fault that is known already is no news.
            known = {line for known in faults for line in range(known.line, (known.end_line or known.line) + 1)}
            if fault.line not in known:
                faults.append(fault)
            if error.is_final:
                break
            lines[fault.line - 1] = _without_value(lines[fault.line - 1])
    return _Reading(None, None, faults, False)


def _without_value(line: str) -> str:
    space = indentation(line)
    name, colon, _ = line.strip().partition(": ")
    is_key = colon and name and ":" not in name and not is_skipped(line) and name[0] not in "\"'[{"
    return f"{space}{name}: ~" if is_key else ""


def _object_nodes(node: Node | None) -> list[Node]:
    """The objects of a document: itself, or the items of a ``List``."""
    if node is None or (node.kind == "scalar" and node.scalar is None):
        return []
    items = node.get("items") if node.kind == "map" else None
    kind = node.get("kind") if node.kind == "map" else None
    if items is not None and items.kind == "list" and kind is not None and str(kind.scalar).endswith("List"):
        return [part for item in items.items for part in _object_nodes(item)]
    return [node]


def _clamp(fault: Fault, document: Document) -> Fault:
    """Into the author's lines: what was mended or taken out may have stood further right.

    YAML counts U+0085 and U+2028 as line ends too, which editors do not: hence lines as well.
    """
    line = min(fault.line, len(document.lines))
    column = min(fault.column, len(document.lines[line - 1]) + 1)
    if (line, column) == (fault.line, fault.column):
        return fault
    return replace(fault, line=line, end_line=0, column=column, end_column=column + 1)


def _in_original(faults: list[Fault], reading: _Reading) -> list[Fault]:
    """Columns of the mended text as columns of the text that the author has."""
    layout = reading.layout
    if layout is None:
        return faults
    moved = []
    for fault in faults:
        if fault.line - 1 in layout.neutral:
            continue
        by = layout.offsets.get(fault.line - 1, 0)
        moved.append(
            replace(
                fault,
                column=max(1, fault.column - by),
                end_column=max(0, fault.end_column - by) or fault.end_column,
            )
        )
    return moved
