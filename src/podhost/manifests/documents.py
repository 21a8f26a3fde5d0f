"""A text cut into its YAML documents: one that is broken does not hide what is wrong with the others."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARKER = re.compile(r"---(?:[ \t]|$)")
_HEAD_KEY = re.compile(r"(apiVersion|kind):(?:[ \t]|$)")
_TOP_KEY = re.compile(r"[A-Za-z][\w-]*:(?:[ \t]|$)")
_END = re.compile(r"\.\.\.(?:[ \t]|$)")


@dataclass(frozen=True, slots=True)
class Document:
    """``first_line`` counts from 0; the lines are without their ends, their first may follow ``---``."""

    first_line: int
    lines: tuple[str, ...]
    is_joined: bool = False
    """Does it follow an object without the line ``---`` between them?"""

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def is_blank(self) -> bool:
        return all(not line.strip() or line.lstrip().startswith("#") for line in self.lines)


def split_lines(text: str) -> list[str]:
    """At line feeds, as YAML and editors count them; carriage returns are dropped."""
    lines = text.removeprefix("\ufeff").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def split_documents(text: str) -> list[Document]:
    """All documents with something in them.  Text behind ``---`` stays at its column."""
    documents: list[Document] = []
    current: list[str] = []
    first = 0

    def close(next_line: int) -> None:
        nonlocal first
        document = Document(first, tuple(current))
        if not document.is_blank:
            documents.append(document)
        current.clear()
        first = next_line

    for number, line in enumerate(split_lines(text)):
        if _MARKER.match(line):
            close(number)
            current.append("   " + line[3:] if line[3:].strip() else "")
        elif _END.match(line):
            close(number + 1)
        elif line.startswith("%") and not any(kept.strip() for kept in current):
            current.append("")
        else:
            current.append(line)
    close(0)
    return [part for document in documents for part in _split_joined(document)]


def _split_joined(document: Document) -> list[Document]:
    """Before each further ``apiVersion`` or ``kind`` at the first column that begins a whole object."""
    lines = document.lines
    starts = [0]
    seen: set[str] = set()
    for number, line in enumerate(lines):
        match = _HEAD_KEY.match(line)
        if match is None:
            continue
        if seen == {"apiVersion", "kind"} and _begins_object(lines, number):
            while number and lines[number - 1].startswith("#"):
                number -= 1
            starts.append(number)
            seen = set()
        seen.add(match[1])
    ends = [*starts[1:], len(lines)]
    return [
        Document(document.first_line + start, lines[start:end], is_joined=start > 0)
        for start, end in zip(starts, ends, strict=True)
    ]


def _begins_object(lines: tuple[str, ...], number: int) -> bool:
    """Is the other of ``apiVersion`` and ``kind`` the next key, or the one after ``metadata``?"""
    keys = [line for line in lines[number:] if _TOP_KEY.match(line)][:3]
    heads = {match[1] for line in keys if (match := _HEAD_KEY.match(line))}
    return heads == {"apiVersion", "kind"}
