"""What the lines that follow say about a line: is it the one that is misplaced, or are they?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from podhost.api.schema import Type, definition
from podhost.manifests.frames import MISSPELT, Frame, compute_key_cost
from podhost.manifests.lines import (
    Content,
    dash_width,
    indentation,
    is_skipped,
    key_of,
    looks_structural,
    read_content,
)

_NEAR = 12
_JUNK = re.compile(r"[^\w\"'\s][^\w\"']*(?=[A-Za-z][\w./-]*:(?:\s|$))")


def following(lines: Sequence[str], number: int) -> list[int]:
    """The next lines with something in them, a few."""
    found = []
    for index in range(number + 1, min(len(lines), number + 3 * _NEAR)):
        if not is_skipped(lines[index]):
            found.append(index)
        if len(found) == _NEAR:
            break
    return found


def compute_company_cost(lines: Sequence[str], number: int, dash: int, item: Type | None) -> float:
    """How badly the key on the line below a ``- `` fits into the same item."""
    below = following(lines, number)[:1]
    if not below or dash_width(lines[below[0]].lstrip()) or item is None:
        return 0.0
    column = len(indentation(lines[below[0]]))
    content = read_content(lines, below[0], column, column)
    if column <= dash or not content.has_key:
        return 0.0
    return min(2.0, compute_key_cost(item, content, {}) / 2)


def find_meant_dash(
    lines: Sequence[str],
    number: int,
    dash: int,
    start: int,
    content: Content,
    key: Frame | None,
    item: Type | None,
) -> int | None:
    """Where a ``- `` should stand by the lines below it, when more of them say so than not.

    ``key``: the key whose first item this is; ``None``: the list is there already.
    """
    below = following(lines, number)
    if not below or key is None:
        return None
    column = len(indentation(lines[below[0]]))
    if not content.has_key:
        return _find_dash_of_text(lines, below, dash, key)
    if dash_width(lines[below[0]].lstrip()) or column == start:
        return None
    other = read_content(lines, below[0], column, column)
    meant = column - (start - dash)
    if not other.has_key or meant < key.column or compute_key_cost(item, other, {content.key: number}) >= MISSPELT:
        return None
    return meant if _votes(lines, below, meant, column) > _votes(lines, below, dash, start) else None


def _find_dash_of_text(lines: Sequence[str], below: Sequence[int], dash: int, key: Frame) -> int | None:
    """Text that goes on further left than its ``- ``, and still beneath the key."""
    columns = []
    for index in below:
        if looks_structural(lines[index]) or len(indentation(lines[index])) <= key.column:
            break
        columns.append(len(indentation(lines[index])))
    return max(key.column, min(columns) - 2) if columns and min(columns) <= dash else None


def find_meant_column(
    lines: Sequence[str], number: int, column: int, content: Content, key: Frame, unit: int
) -> int | None:
    """Where the first key beneath ``key`` should stand, by its neighbours further down."""
    if key.type is None or key.type.kind != "ref":
        return None
    fields = definition(key.type.ref).fields
    columns = [column]
    floor: int | None = None
    for index in range(number + 1, len(lines)):
        if is_skipped(lines[index]):
            continue
        at = len(indentation(lines[index]))
        if at <= key.column:
            break
        if dash_width(lines[index].lstrip()):
            floor = at if floor is None else min(floor, at)
        elif floor is None or at <= floor:
            floor = None
            name = key_of(lines[index])
            if abs(at - column) <= unit and name in fields and name != content.key:
                columns.append(at)
    others = [at for at in columns if at != column]
    if not others or len(set(others)) > 1:
        return None
    meant, stays = others[0], len(columns) - len(others)
    return meant if len(others) > stays or (len(others) == stays and meant - key.column == unit) else None


def _votes(lines: Sequence[str], below: Sequence[int], dash: int, start: int) -> int:
    count = 0
    for index in below:
        column = len(indentation(lines[index]))
        count += column == (dash if dash_width(lines[index].lstrip()) else start)
    return count


def junk_width(text: str) -> int:
    """Width of what cannot begin a key and stands before one: ``@name:``."""
    match = _JUNK.match(text)
    return match.end() if match else 0


def find_missing_parent(stack: Sequence[Frame], content: Content, column: int) -> str:
    """The key whose line was probably lost above: the only one that is not set and has such a field."""
    for frame in reversed(stack):
        if frame.kind != "map" or frame.type is None or frame.type.kind != "ref" or column <= frame.column:
            continue
        homes = [
            name
            for name, facts in definition(frame.type.ref).fields.items()
            if name not in frame.keys and facts.type.kind == "ref" and content.key in definition(facts.type.ref).fields
        ]
        for name in ("metadata", "spec"):
            if name in homes:
                return name
        return homes[0] if len(homes) == 1 else ""
    return ""
