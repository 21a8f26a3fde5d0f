"""One line of block YAML taken apart without believing its indentation; pure text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Shape = Literal["empty", "block", "flow", "quoted", "plain"]

_KEY = re.compile(
    r"""(?P<key>"(?:[^"\\]|\\.)*" | '(?:[^']|'')*'
        | (?:[^\s\-?:,\[\]{}#&*!|>'"%@`]|[-?:](?=\S))(?:[^:#]|:(?=\S)|(?<=\S)\#)*?)
        [ \t]*:(?=[ \t]|$)""",
    re.VERBOSE,
)
_PROPERTIES = re.compile(r"(?:[&!][^\s]*(?:[ \t]+|$))+")
_BLOCK = re.compile(r"[|>][-+0-9]*[ \t]*(?:#.*)?$")
_SPACE = re.compile(r"[ \t]*")
_DASH = re.compile(r"-(?:[ \t]+|$)")


@dataclass(frozen=True, slots=True)
class Content:
    """What follows the indentation (and dashes) of a line.  Columns count from 0."""

    column: int
    key: str
    """Empty: there is none."""
    key_width: int
    value: str
    value_column: int
    shape: Shape
    last_line: int
    """Where a value in brackets or quotes ends."""
    unclosed: str = ""
    """The bracket or quote that nothing closes."""
    unclosed_column: int = 0

    @property
    def has_key(self) -> bool:
        return self.key_width > 0


def indentation(line: str) -> str:
    match = _SPACE.match(line)
    return match.group() if match else ""


def is_skipped(line: str) -> bool:
    """Blank, or a comment alone."""
    rest = line.lstrip(" \t")
    return not rest or rest.startswith("#")


def dash_width(text: str) -> int:
    """Width of ``- `` at the beginning; 0: none."""
    match = _DASH.match(text)
    return match.end() if match else 0


def looks_structural(line: str) -> bool:
    """``key: …`` or ``- …``."""
    rest = line.lstrip(" \t")
    return bool(_KEY.match(rest)) or dash_width(rest) > 0


def key_of(line: str) -> str:
    match = _KEY.match(line.lstrip(" \t"))
    return _unquote(match["key"]) if match else ""


def _unquote(text: str) -> str:
    return text[1:-1] if text[:1] in "\"'" and len(text) > 1 else text


def read_content(lines: Sequence[str], number: int, column: int, floor: int) -> Content:
    """The content of line ``number`` from ``column`` on.

    ``floor``: a value that goes on over several lines must be indented further than this.
    """
    line = lines[number]
    match = _KEY.match(line, column)
    key, width, start = "", 0, column
    if match:
        key, width, start = _unquote(match["key"]), match.end("key") - column, match.end()
    start += len(indentation(line[start:]))
    if properties := _PROPERTIES.match(line, start):
        start = properties.end()
    value = line[start:].rstrip()
    shape = _shape(value)
    last, unclosed, opened = number, "", start
    if shape in ("flow", "quoted"):
        end = _closing_line(lines, number, start, floor)
        last, unclosed = (number, value[0]) if end is None else (end, "")
        if unclosed in ("[", "{") and (quote := _open_quote(line, start)):
            unclosed, opened = quote
    return Content(column, key, width, "" if shape == "empty" else value, start, shape, last, unclosed, opened)


def _shape(value: str) -> Shape:
    if not value or value.startswith("#"):
        return "empty"
    if _BLOCK.match(value):
        return "block"
    if value[0] in "[{":
        return "flow"
    return "quoted" if value[0] in "\"'" else "plain"


def _open_quote(line: str, column: int) -> tuple[str, int] | None:
    """The quote within brackets that is open at the end of the line, and its column."""
    found: tuple[str, int] | None = None
    at = column
    while at < len(line):
        char = line[at]
        if found is None and char in "\"'" and line[at - 1] in " [{,:\t":
            found = char, at
        elif found is not None and char == "\\" and found[0] == '"':
            at += 1
        elif found is not None and char == found[0]:
            found = None
        at += 1
    return found


def _closing_line(lines: Sequence[str], number: int, column: int, floor: int) -> int | None:
    """Line on which the bracket or quote at a place is closed; ``None``: never."""
    open_brackets: list[str] = []
    quote = ""
    at = column
    for index in range(number, len(lines)):
        line = lines[index]
        if index > number and line.strip() and len(indentation(line)) <= floor and looks_structural(line):
            return None
        while at < len(line):
            char = line[at]
            if quote:
                if char == "\\" and quote == '"':
                    at += 1
                elif char == quote:
                    if quote == "'" and line[at + 1 : at + 2] == "'":
                        at += 1
                    else:
                        quote = ""
            elif char in "\"'" and (not open_brackets or line[at - 1] in " [{,:\t"):
                quote = char
            elif char in "[{":
                open_brackets.append(char)
            elif char in "]}":
                if not open_brackets or (open_brackets.pop() + char) not in ("[]", "{}"):
                    return None
            elif char == "#" and at and line[at - 1] in " \t":
                break
            at += 1
            if not quote and not open_brackets:
                return index
        at = 0
    return None


def detect_unit(lines: Sequence[str]) -> int:
    """By how many columns a mapping stands further in than its key, in this text."""
    for above, below in pairwise(lines):
        if is_skipped(below) or "\t" in indentation(below):
            continue
        if above.rstrip().endswith(":") and looks_structural(above) and not dash_width(below.lstrip()):
            deeper = len(indentation(below)) - len(indentation(above))
            if 1 <= deeper <= 8 and not dash_width(above.lstrip()):
                return deeper
    return 2
