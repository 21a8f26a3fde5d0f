"""The graph as an SVG picture, of the same layout as the terminal's drawing.  Pure."""

from __future__ import annotations

from xml.sax.saxutils import escape

from podhost.channels.graph import ChannelGraph
from podhost.channels.layout import Lane, Row, build_layout

_LANE, _GAP, _MARGIN = 260, 40, 20
_LINE, _ROW = 18, 62
_CHARACTER = 7.3
_STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#222}.title{font-weight:bold;font-size:14px}"
    ".box{fill:#f4f8fc;stroke:#3b6ea5;stroke-width:1.5}.outside{fill:#fff;stroke:#888;stroke-dasharray:4 3}"
    ".life{stroke:#bbb;stroke-dasharray:2 3}.wire{stroke:#2f7d4f;stroke-width:1.6}.label{fill:#2f7d4f}"
    ".bad{fill:#b00020}.wire.bad{stroke:#b00020}.detail{fill:#777;font-size:11px}"
)


def draw_svg(graph: ChannelGraph) -> str:
    """A complete SVG document."""
    layout = build_layout(graph)
    head = max((len(lane.lines) for lane in layout.lanes), default=0) * _LINE + 36
    top = 50
    bottom = top + head + len(layout.rows) * _ROW + 10
    problems = [f"{problem.severity}: {problem.message}" for problem in graph.problems]
    notes = [*((0, text) for text in layout.loose), *layout.tree, *((0, text) for text in (*graph.gaps, *problems))]
    lanes_width = len(layout.lanes) * (_LANE + _GAP) - _GAP
    texts = [layout.title, *("  " * depth + text for depth, text in notes)]
    width = 2 * _MARGIN + max([lanes_width, *(round(len(text) * _CHARACTER) for text in texts)])
    height = bottom + len(notes) * _LINE + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="#2f7d4f"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _text(_MARGIN, 28, layout.title, "title"),
    ]
    for index, lane in enumerate(layout.lanes):
        parts += _draw_lane(lane, index, top, head, bottom)
    for index, row in enumerate(layout.rows):
        parts += _draw_row(row, top + head + index * _ROW + 30)
    for index, (depth, note) in enumerate(notes):
        kind = "bad" if index >= len(notes) - len(problems) else "detail"
        parts.append(_text(_MARGIN + 2 * depth * _CHARACTER, bottom + (index + 1) * _LINE, note, kind))
    return "\n".join([*parts, "</svg>", ""])


def _centre(lane: int) -> int:
    return _MARGIN + lane * (_LANE + _GAP) + _LANE // 2


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(clean)}</text>'


def _draw_lane(lane: Lane, index: int, top: int, head: int, bottom: int) -> list[str]:
    left = _MARGIN + index * (_LANE + _GAP)
    kind = "outside" if lane.is_outside else "box"
    room = int(_LANE / _CHARACTER) - 2
    lines = [_text(left + 10, top + 40 + n * _LINE, text[:room]) for n, text in enumerate(lane.lines)]
    return [
        f'<line x1="{_centre(index)}" y1="{top + head}" x2="{_centre(index)}" y2="{bottom}" class="life"/>',
        f'<rect x="{left}" y="{top}" width="{_LANE}" height="{head}" rx="5" class="{kind}"/>',
        _text(left + 10, top + 20, lane.title[:room], "title"),
        *lines,
    ]


def _draw_row(row: Row, y: int) -> list[str]:
    first, last = row.marks[0], row.marks[-1]
    bad = " bad" if row.has_problem else ""
    parts = [_text(_centre(first.lane) + 8, y - 6, row.label, f"label{bad}")]
    if first.lane != last.lane:
        start = ' marker-start="url(#arrow)"' if first.arrow else ""
        end = ' marker-end="url(#arrow)"' if last.arrow else ""
        ends = f'x1="{_centre(first.lane)}" y1="{y}" x2="{_centre(last.lane)}" y2="{y}"'
        parts.append(f'<line {ends} class="wire{bad}"{start}{end}/>')
    for mark in row.marks:
        if not mark.arrow or first.lane == last.lane:
            parts.append(f'<circle cx="{_centre(mark.lane)}" cy="{y}" r="3.5" fill="#2f7d4f"/>')
        if mark.text:
            parts.append(_text(_centre(mark.lane), y + 16, mark.text, "detail", "middle"))
    return parts
