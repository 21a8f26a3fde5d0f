"""The structures that a line may belong to, each with what that would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podhost.manifests.frames import (
    DUPLICATE,
    FOREIGN,
    FREE,
    MISSPELT,
    Frame,
    compute_item_cost,
    compute_key_cost,
)
from podhost.manifests.lines import Content
from podhost.manifests.lookahead import compute_company_cost

_CERTAIN_MARGIN = 0.4
_NEW_ITEM = 1.1
_EXPECTED = 0.3
"""A key of a list with nothing beneath it yet waits for its first item."""
_BESIDE_MOVED = 0.8
"""How much likelier a column is where another key of the same mapping was misplaced just so."""


@dataclass(frozen=True, slots=True)
class Candidate:
    depth: int
    """Index in the stack."""
    cost: float
    schema_cost: float
    is_consistent: bool
    makes: str
    """``member``: of the frame; ``child``: a new structure under an open key; ``item``: a forgotten dash;
    ``first-item``: a dash forgotten at the first item of a list."""


def map_candidates(stack: Sequence[Frame], column: int, content: Content) -> list[Candidate]:
    """Every mapping that a key could be in."""
    found = []
    for depth, frame in enumerate(stack):
        away = 0.01 * (len(stack) - depth)
        if frame.kind == "map":
            cost = compute_key_cost(frame.type, content, frame.keys)
            fits = column in (frame.column, frame.new_column)
            if column in frame.columns and not fits:
                away -= _BESIDE_MOVED
            found.append(_candidate(depth, cost, fits, column - frame.column, away, "member"))
            if cost >= DUPLICATE and content.key == frame.first_key and frame.is_item:
                found.append(Candidate(depth, _NEW_ITEM + away + (not fits), _NEW_ITEM, False, "item"))
        elif frame.kind == "key" and frame.is_open and depth == len(stack) - 1:
            found.append(_child_for(depth, frame, column, content, away))
    return found


def _child_for(depth: int, frame: Frame, column: int, content: Content, away: float) -> Candidate:
    """What a key would be beneath an open key."""
    fits = column > frame.column
    if frame.type is not None and frame.type.kind == "list":
        cost = compute_key_cost(frame.type.item, content, {})
        cost = max(cost, 0.0) + _NEW_ITEM
        return Candidate(depth, cost + away + (0.0 if fits else 0.5), cost, False, "first-item")
    cost = compute_key_cost(frame.type, content, {})
    return _candidate(depth, cost, fits, column - frame.column, away, "child")


def list_candidates(
    stack: Sequence[Frame], lines: Sequence[str], number: int, column: int, content: Content
) -> list[Candidate]:
    """Every list that an item could be in."""
    found = []
    for depth, frame in enumerate(stack):
        away = 0.01 * (len(stack) - depth)
        item = frame.type.item if frame.type is not None and frame.type.kind == "list" else None
        if frame.kind == "list":
            cost = compute_item_cost(item, content)
            fits = column in (frame.column, frame.new_column)
            away += compute_company_cost(lines, number, column, item)
            found.append(_candidate(depth, cost, fits, column - frame.column, away, "member"))
        elif frame.kind == "key" and frame.is_open and depth == len(stack) - 1:
            no_list = frame.type is not None and frame.type.kind not in ("list", "any")
            cost = FOREIGN if no_list else compute_item_cost(item, content)
            fits = column >= frame.column
            away += compute_company_cost(lines, number, column, item) - (0.0 if fits or no_list else _EXPECTED)
            found.append(_candidate(depth, cost, fits, column - frame.column, away, "child"))
    return found


def _candidate(depth: int, cost: float, fits: bool, distance: int, away: float, makes: str) -> Candidate:
    indent_cost = 0.0 if fits else 1.0 + min(0.3, 0.02 * abs(distance))
    return Candidate(depth, cost + indent_cost + away, cost, fits, makes)


def choose(candidates: list[Candidate]) -> tuple[Candidate | None, bool]:
    """The cheapest, and whether it is the only reading."""
    ordered = sorted(candidates, key=lambda candidate: (candidate.cost, -candidate.depth))
    if not ordered:
        return None, False
    best = ordered[0]
    if best.schema_cost >= MISSPELT and not best.is_consistent:
        # Nothing fits really: believe the column where it says anything.
        by_column = [candidate for candidate in reversed(candidates) if candidate.is_consistent]
        best = by_column[0] if by_column and best.schema_cost > _NEW_ITEM + 0.2 else best
    margin = min((c.cost for c in ordered if c is not best), default=FOREIGN) - best.cost
    return best, best.schema_cost <= FREE and margin >= _CERTAIN_MARGIN
