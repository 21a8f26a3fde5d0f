"""The graph as text for a terminal: containers as boxes, channels as labelled lines between them.  Pure.

Where the boxes do not fit beside each other they stand below each other, each with its channels.
"""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass

from podhost.channels.graph import ChannelGraph
from podhost.channels.layout import Lane, Layout, Row, build_layout

_MIN_LANE = 18
_MAX_LANE = 46
_GAP = 2
_CODES = {"bold": 1, "red": 31, "green": 32, "yellow": 33, "cyan": 36, "grey": 90}


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Characters and colours."""

    ascii: bool = False
    colour: bool = False

    def pick(self, unicode: str, ascii: str) -> str:
        return ascii if self.ascii else unicode

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour and text.strip() else text

    def clean(self, text: str) -> str:
        """Nothing of what programs call themselves may move the cursor or break the boxes."""
        kept = "".join(char if char.isprintable() else "?" for char in text)
        return kept.encode("ascii", "replace").decode() if self.ascii else kept


def draw_graph(graph: ChannelGraph, width: int, style: Style | None = None) -> str:
    """The drawing, at most ``width`` columns wide."""
    style = style or Style()
    layout = build_layout(graph)
    width = max(width, 40)
    lines = [style.paint(_cut(style.clean(layout.title), width, style), "bold"), ""]
    lane_width = _lane_width(layout, width)
    if not layout.lanes:
        lines.append("no container has been started")
    elif lane_width >= _MIN_LANE:
        lines += _draw_side_by_side(layout, lane_width, width, style)
    else:
        lines += _draw_stacked(layout, width, style)
    for text in layout.loose:
        lines.append(_cut(f"{style.pick('○', 'o')} {style.clean(text)}", width, style))
    if layout.tree:
        lines += ["", *(_cut(f"{'  ' * depth}{style.clean(text)}", width, style) for depth, text in layout.tree)]
    for gap in graph.gaps:
        lines.append(style.paint(_cut(style.clean(gap), width, style), "grey"))
    lines += draw_problems(graph, width, style)
    return "\n".join(line.rstrip() for line in lines)


def draw_problems(graph: ChannelGraph, width: int, style: Style | None = None) -> list[str]:
    """Each problem with its evidence and a suggestion; nothing when there is none."""
    style = style or Style()
    lines: list[str] = []
    for problem in graph.problems:
        sign, colour = (
            (style.pick("✗", "X"), "red") if problem.severity == "error" else (style.pick("⚠", "!"), "yellow")
        )
        message = _wrap(f"{sign} {style.clean(problem.message)}", width, "  ")
        lines += ["", *(style.paint(line, colour) for line in message)]
        for evidence in problem.evidence:
            lines += _wrap(f"    {style.clean(evidence)}", width, "    ")
        if problem.suggestion:
            lines += _wrap(f"  {style.pick('→', '->')} {style.clean(problem.suggestion)}", width, "    ")
    return lines


def _wrap(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=True) or [""]


def _cut(text: str, width: int, style: Style) -> str:
    """At most ``width`` columns of a terminal."""
    cells = _cells(text)
    return text if len(cells) <= width else "".join(cells[: width - 1]) + style.pick("…", ">")


def _cells(text: str) -> list[str]:
    """What stands in each column: behind a wide character comes an empty one."""
    cells: list[str] = []
    for char in text:
        if unicodedata.combining(char):
            cells[-1:] = ["".join([*cells[-1:], char])]
        elif unicodedata.east_asian_width(char) in "WF":
            cells += [char, ""]
        else:
            cells.append(char)
    return cells


def _pad(text: str, width: int) -> str:
    return text + " " * max(0, width - len(_cells(text)))


def _lane_width(layout: Layout, width: int) -> int:
    count = len(layout.lanes)
    if not count:
        return 0
    widest = max((len(_cells(line)) for lane in layout.lanes for line in (lane.title, *lane.lines)), default=0) + 4
    details = max((len(_cells(mark.text)) + 1 for row in layout.rows for mark in row.marks), default=0)
    room = (width - _GAP * (count - 1)) // count
    return min(room, max(widest, details, _MIN_LANE), _MAX_LANE)


# -- boxes side by side -----------------------------------------------------------------------------------------


def _draw_side_by_side(layout: Layout, lane_width: int, width: int, style: Style) -> list[str]:
    boxes = [_draw_box(lane, lane_width, layout, style) for lane in layout.lanes]
    gap = " " * _GAP
    lines = [gap.join(row) for row in zip(*boxes, strict=True)]
    centres = [index * (lane_width + _GAP) + lane_width // 2 for index in range(len(layout.lanes))]
    for row in layout.rows:
        lines += _draw_row(row, centres, lane_width, width, style)
    return lines


def _draw_box(lane: Lane, lane_width: int, layout: Layout, style: Style) -> list[str]:
    height = max(len(each.lines) for each in layout.lanes)
    corner = style.pick("┌┐└┘", "++++")
    flat, upright, tee = style.pick("─", "-"), style.pick("│", "|"), style.pick("┬", "+")
    inner = lane_width - 2
    title = _cut(style.clean(lane.title), inner - 4, style)
    head = f"{corner[0]}{flat} {style.paint(title, 'cyan' if lane.is_running else 'grey')} "
    lines = [head + flat * (inner - len(_cells(title)) - 3) + corner[1]]
    for index in range(height):
        text = style.clean(lane.lines[index]) if index < len(lane.lines) else ""
        lines.append(f"{upright} {_pad(_cut(text, inner - 2, style), inner - 2)} {upright}")
    half = lane_width // 2 - 1
    foot = tee if layout.rows else flat
    lines.append(corner[2] + flat * half + foot + flat * (inner - half - 1) + corner[3])
    return lines


def _draw_row(row: Row, centres: list[int], lane_width: int, width: int, style: Style) -> list[str]:
    blank = _lifelines(centres, width, style)
    label = style.clean(row.label)
    if row.has_problem:
        label = f"{style.pick('⚠', '!')} {label}"
    first, last = centres[row.marks[0].lane], centres[row.marks[-1].lane]
    lines = ["".join(blank)]
    start = max(0, min(first + 2, width - len(_cells(label)) - 1))
    text = _cut(label, width - start, style)
    lines.append(_overlay(blank, start, text, style, "yellow" if row.has_problem else "green"))
    lines.append("".join(_draw_connector(row, blank, centres, first, last, style)))
    if any(mark.text for mark in row.marks):
        details = list(blank)
        for mark in row.marks:
            detail = _cells(_cut(style.clean(mark.text), lane_width, style))
            place = max(0, min(centres[mark.lane] - len(detail) // 2, width - len(detail)))
            details[place : place + len(detail)] = detail
        lines.append("".join(details))
    return lines


def _lifelines(centres: list[int], width: int, style: Style) -> list[str]:
    blank = [" "] * max(width, centres[-1] + 1)
    for centre in centres:
        blank[centre] = style.pick("│", "|")
    return blank


def _overlay(blank: list[str], start: int, text: str, style: Style, colour: str) -> str:
    before, after = "".join(blank[: max(0, start - 1)]), "".join(blank[start + len(_cells(text)) + 1 :])
    pad = " " if start else ""
    return before + pad + style.paint(text, colour) + " " + after


def _draw_connector(row: Row, blank: list[str], centres: list[int], first: int, last: int, style: Style) -> list[str]:
    line = list(blank)
    if first == last:
        line[first] = style.pick("●", "*")
        return line
    for column in range(first + 1, last):
        # A lane that the line only passes stays whole: the line goes behind it.
        line[column] = line[column] if column in centres else style.pick("─", "-")
    for mark in row.marks:
        centre = centres[mark.lane]
        if centre == first:
            line[centre] = style.pick("├", "+")
            line[centre + 1] = style.pick("◄", "<") if mark.arrow else line[centre + 1]
        elif centre == last:
            line[centre] = style.pick("┤", "+")
            line[centre - 1] = style.pick("►", ">") if mark.arrow else line[centre - 1]
        else:
            line[centre] = style.pick("●", "*")
    return line


# -- boxes below each other ---------------------------------------------------------------------------------------


def _draw_stacked(layout: Layout, width: int, style: Style) -> list[str]:
    lines: list[str] = []
    flat, upright, corner = style.pick("─", "-"), style.pick("│", "|"), style.pick("┌┐└┘", "++++")
    for index, lane in enumerate(layout.lanes):
        if lane.is_outside:
            continue
        inner = min(width, 76) - 2
        title = _cut(style.clean(lane.title), inner - 4, style)
        head = f"{corner[0]}{flat} {style.paint(title, 'cyan' if lane.is_running else 'grey')} "
        lines.append(head + flat * (inner - len(_cells(title)) - 3) + corner[1])
        text = _cut(style.clean("; ".join(lane.lines)), inner - 2, style)
        lines.append(f"{upright} {_pad(text, inner - 2)} {upright}")
        lines.append(corner[2] + flat * inner + corner[3])
        rows = [row for row in layout.rows if any(mark.lane == index for mark in row.marks)]
        for position, row in enumerate(rows):
            branch = style.pick("├─", "|-") if position < len(rows) - 1 else style.pick("└─", "`-")
            lines.append(_cut(f"  {branch}{_describe_row(row, index, layout, style)}", width, style))
    return lines


def _describe_row(row: Row, lane: int, layout: Layout, style: Style) -> str:
    own = next(mark for mark in row.marks if mark.lane == lane)
    others = [layout.lanes[mark.lane].title for mark in row.marks if mark.lane != lane]
    sign = style.pick("◄", "<") if own.arrow else style.pick("●", "*")
    warning = f"{style.pick('⚠', '!')} " if row.has_problem else ""
    if len(others) > 3:
        others = [*others[:3], f"{len(others) - 3} more"]
    shown = f"  with {', '.join(others)}" if others else ""
    detail = f"  {own.text}" if own.text else ""
    return f"{sign} {warning}" + style.clean(f"{row.label}{shown}{detail}")
