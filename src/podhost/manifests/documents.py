"""A text cut into its YAML documents: one that is broken does not hide what is wrong with the others."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARKER = re.compile(r"---(?:[ \t]|$)")
_END = re.compile(r"\.\.\.(?:[ \t]|$)")


@dataclass(frozen=True, slots=True)
class Document:
    """``first_line`` counts from 0; the lines are without their ends, their first may follow ``---``."""

    first_line: int
    lines: tuple[str, ...]

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
    return documents
