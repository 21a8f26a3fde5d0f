"""Colours, tables, durations and status lines; plain text wherever the output is not a terminal."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import TextIO

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "grey": 90, "bold": 1}
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
PREFIX_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def has_unicode(stream: TextIO) -> bool:
    """Can the stream show marks and boxes?"""
    try:
        "✓┌●►…█".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_live(stream: TextIO) -> bool:
    """Can lines be drawn over again?"""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def choose_size(*, pipe_width: int) -> os.terminal_size:
    """Columns and lines for a text on stdout: COLUMNS and LINES where they are set, the terminal's, ``pipe_width``."""
    # Most commands never ask, and it takes milliseconds of their start.
    import shutil

    return shutil.get_terminal_size((pipe_width, 24))


def read_size(stream: TextIO) -> os.terminal_size:
    """What the terminal behind ``stream`` has now, for moving its cursor; 80 by 24 where there is none."""
    try:
        found = os.get_terminal_size(stream.fileno())
    except OSError:
        return os.terminal_size((80, 24))
    # A serial line or a fresh pty may say 0.
    return os.terminal_size((found.columns or 80, found.lines or 24))


def paint(text: str, colour: str, *, enabled: bool) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if enabled else text


def say(text: str, *, mark: str = "", colour: str = "") -> None:
    """One line for the person, on stderr: stdout belongs to what was asked for."""
    shown = paint(mark, colour, enabled=has_colour(sys.stderr)) if colour else mark
    print(f"{shown} {text}" if mark else text, file=sys.stderr, flush=True)


def quote_output(text: str) -> str:
    """What a program wrote, for a place among our own lines: without its colours, titles and cursor movements."""
    text = _SEQUENCES.sub("", text).replace("\t", "    ").rstrip()
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def clean_text(text: str) -> str:
    """One line that cannot move the cursor or change colours: what others wrote may hold anything."""
    return "".join(char if char.isprintable() else " " if char in "\n\t" else "?" for char in text.strip())


def count_cells(text: str) -> int:
    """Columns that a text takes on a terminal; colours take none."""
    plain = _ESCAPES.sub("", text)
    if plain.isascii():
        return len(plain)
    return sum(_cells_of(char) for char in plain)


def _cells_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut_text(text: str, width: int, *, ascii: bool = False) -> str:
    """At most ``width`` columns of a text without colours; the end of what was longer is marked."""
    if count_cells(text) <= width:
        return text
    mark = "..." if ascii else "…"
    kept, left = [], width - len(mark)
    for char in text:
        left -= _cells_of(char)
        if left < 0:
            break
        kept.append(char)
    return ("".join(kept) + mark)[: max(width, 0)]


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as kubectl draws them: three spaces between, nothing at line ends."""
    cells = [list(map(str, header)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(count_cells(row[index]) for row in cells) for index in range(len(header))]
    lines = (
        "   ".join(cell + " " * (width - count_cells(cell)) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def format_bytes(count: float) -> str:
    """``1.5 MB``: decimal units, as registries and docker show them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_age(seconds: float) -> str:
    """``5s``, ``3m12s``, ``4h``, ``2d3h``: apimachinery's HumanDuration."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -2 else "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{whole % 60}s" if whole % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y" + (f"{rest}d" if years < 8 and rest else "")


class StatusLine:
    """A line that is drawn over again; plain lines, each once, where there is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._tty = is_live(self._stream)
        self._last = ""

    def show(self, text: str, *, plain: str | None = None) -> None:
        """``plain`` is for pipes: shown when it differs from the line before; nothing when empty."""
        if self._tty:
            width = read_size(self._stream).columns
            self._stream.write(f"\r\x1b[K{cut_text(clean_text(text), width - 1)}")
            self._stream.flush()
            self._last = text
            return
        line = clean_text(text if plain is None else plain)
        if line and line != self._last:
            print(line, file=self._stream, flush=True)
            self._last = line

    def clear(self) -> None:
        if self._tty and self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._last = ""
