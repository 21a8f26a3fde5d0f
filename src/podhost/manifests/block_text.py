"""Where the text beneath a ``|`` ends, as its author meant it."""

from __future__ import annotations

from collections.abc import Sequence

from podhost.manifests.frames import Frame, child_type
from podhost.manifests.lines import indentation, is_skipped, key_of, looks_structural


def find_block_end(lines: Sequence[str], first: int, owner: int) -> int:
    """Last line of a text that begins, indented, in line ``first``; ``owner``: the column of its key."""
    last = first
    for number in range(first, len(lines)):
        line = lines[number]
        is_deeper = len(indentation(line)) > owner
        # What is neither key, item nor comment can be nothing but text.
        if line.strip() and not is_deeper and looks_structural(line):
            break
        if line.strip() and (is_deeper or not is_skipped(line)):
            last = number
    return last


def find_loose_end(lines: Sequence[str], first: int, owner: int, stack: Sequence[Frame]) -> int:
    """Text that is not indented ends where a line can only be the next key of something above."""
    last = first
    for number in range(first, len(lines)):
        line = lines[number]
        if not line.strip():
            continue
        column = len(indentation(line))
        if column <= owner and looks_structural(line) and _ends_text(line, column, stack):
            break
        last = number
    return last


def _ends_text(line: str, column: int, stack: Sequence[Frame]) -> bool:
    key = key_of(line)
    for frame in stack:
        if frame.kind != "map" or column not in frame.columns or not key:
            continue
        if frame.type is not None and frame.type.kind == "ref" and child_type(frame.type, key) is not None:
            return key not in frame.keys
        free = frame.type is None or frame.type.kind == "map"
        if free and line.rstrip().endswith((": |", ": |-", ": |+", ": >", ": >-")):
            return True
    return False
