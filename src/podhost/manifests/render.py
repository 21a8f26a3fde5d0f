"""Faults as text for people, for editors and CI, and as data."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from podhost.manifests.faults import Fault, quantify

Paint = Callable[[str, str], str]
"""``paint(text, colour)``."""

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
_TABS = "→"
_MARKED_LINES_MAX = 3
_SHOWN_WIDTH = 160
_SHOWN_BEFORE = 60


def plain(text: str, colour: str) -> str:
    return text


def render_fault(
    name: str, fault: Fault, lines: Sequence[str], paint: Paint = plain, *, width: int = _SHOWN_WIDTH
) -> str:
    """The place, what is wrong, the lines with a mark beneath, what was probably meant.

    Of lines longer than ``width`` (in characters, numbers and all) the part around the mark is shown.
    """
    colour = _COLOURS[fault.severity]
    place = paint(f"{name}:{fault.line}:{fault.column}:", "bold")
    out = [f"{place} {paint(fault.severity, colour)}: {_visible(_headline(fault))}"]
    out += [f"    {_visible(line)}" for line in fault.message.splitlines()[1:] if line.strip()]
    numbers = _shown_lines(fault, len(lines))
    digits = max(4, len(str(numbers[-1]))) if numbers else 4
    room = max(width - digits - 4, 20)
    start = _first_shown(fault, lines, room)
    before = 0
    for number in numbers:
        if before and number > before + 1:
            out.append(paint(f"{'…':>{digits + 1}}", "grey"))
        line = _visible(_cut_line(lines[number - 1], start, room))
        out.append(f"{paint(f'{number:>{digits + 1}} |', 'grey')} {line}".rstrip())
        if number == fault.line:
            mark = _mark(fault, lines[number - 1], start, room)
            out.append(f"{paint(' ' * (digits + 1) + ' |', 'grey')} {paint(mark, colour)}")
        before = number
    if fault.meant:
        out.append(f"  {paint('→', 'green')} {_visible(fault.meant)}")
    return "\n".join(out)


def _headline(fault: Fault) -> str:
    """Servers say some things in several lines (what differs in a pod that may not be changed)."""
    return (fault.message.splitlines() or [""])[0]


def _shown_lines(fault: Fault, count: int) -> list[int]:
    last = min(fault.end_line or fault.line, fault.line + _MARKED_LINES_MAX - 1)
    wanted = {*range(fault.line, last + 1), *fault.shown}
    if not fault.shown:
        wanted.add(fault.line - 1)
    return sorted(number for number in wanted if 1 <= number <= count)


def _visible(line: str) -> str:
    """Tabs as arrows, so that every character has one column; control characters never reach a terminal."""
    return "".join(_TABS if char == "\t" else char if char.isprintable() else "�" for char in line)


def _first_shown(fault: Fault, lines: Sequence[str], room: int) -> int:
    """The column (from 0) with which the shown part of the lines begins: the marked place must be in it."""
    line = lines[fault.line - 1] if 0 < fault.line <= len(lines) else ""
    end = max(fault.column, min(fault.end_column, len(line)))
    if len(line) <= room or end < room:
        return 0
    return max(0, min(fault.column - 1 - min(_SHOWN_BEFORE, room // 3), len(line) - room))


def _cut_line(line: str, start: int, room: int) -> str:
    text = line[start : start + room]
    if start and text:
        text = "…" + text[1:]
    return text[:-1] + "…" if len(line) > start + room else text


def _mark(fault: Fault, line: str, first: int, room: int) -> str:
    start = min(fault.column - 1, len(line))
    last = fault.end_column - 1 if fault.end_column else len(line.rstrip()) if fault.end_line else start + 1
    end = max(start + 1, min(last, len(line), first + room))
    return " " * _width(line[first:start]) + "^" * max(1, _width(line[start:end]))


def _width(text: str) -> int:
    """Columns on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def render_line(name: str, fault: Fault) -> str:
    """``file:line:col: severity: text``: what compilers say and editors read."""
    meant = f" ({_visible(fault.meant)})" if fault.meant else ""
    return f"{name}:{fault.line}:{fault.column}: {fault.severity}: {_visible(_headline(fault))}{meant} [{fault.code}]"


def render_github(name: str, fault: Fault) -> str:
    """A workflow command that GitHub shows as an annotation."""
    level = {"error": "error", "warning": "warning", "note": "notice"}[fault.severity]
    text = _visible(_headline(fault)) + (f"\n{_visible(fault.meant)}" if fault.meant else "")
    place = f"file={_property(name)},line={fault.line},col={fault.column}"
    if fault.end_line:
        place += f",endLine={fault.end_line}"
    elif fault.end_column:
        place += f",endColumn={fault.end_column}"
    return f"::{level} {place},title={_property('podhost ' + fault.code)}::{_escape(text)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def to_json(name: str, fault: Fault) -> dict[str, Any]:
    data: dict[str, Any] = {
        "file": name,
        "line": fault.line,
        "column": fault.column,
        "endLine": fault.end_line or fault.line,
        "severity": fault.severity,
        "code": fault.code,
        "message": fault.message,
        "mendable": fault.mendable,
    }
    if fault.end_column:
        data["endColumn"] = fault.end_column
    if fault.meant:
        data["suggestion"] = fault.meant
    if fault.field:
        data["field"] = fault.field
    return data


def summarise(counts: dict[str, int], objects: int, mendable: int, names: Sequence[str]) -> str:
    """``two errors, one warning; podhost fix pod.yaml mends two of them``."""
    parts = [quantify(count, severity) for severity, count in counts.items() if count]
    if not parts:
        return f"{quantify(objects, 'object')}, nothing wrong"
    text = ", ".join(parts)
    if mendable:
        total = sum(counts.values())
        every = "it" if total == 1 else "all of them"
        which = every if mendable == total else f"{quantify(mendable, 'of them').rstrip('s')}"
        text += f"; `podhost fix {' '.join(names)}` mends {which}"
    return text
