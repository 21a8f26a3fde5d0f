"""A few lines at the end of the terminal that are drawn over again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from podhost.cli.terminal import count_cells, read_size


class LiveRegion:
    """Owns the lines below what was printed before; whoever prints in between calls :meth:`clear` first."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: tuple[str, ...] = ()

    def size(self) -> os.terminal_size:
        """Of the terminal, now."""
        return read_size(self._stream)

    def draw(self, lines: Sequence[str]) -> None:
        """Show ``lines`` in place of those shown last."""
        if tuple(lines) == self._lines:
            return
        self._stream.write(build_frame(self._lines, lines, self.size().columns))
        self._stream.flush()
        self._lines = tuple(lines)

    def clear(self) -> None:
        """As if nothing had been drawn."""
        self.draw(())

    def keep(self) -> None:
        """What is shown stays; the next drawing begins below it."""
        self._lines = ()


def build_frame(before: Sequence[str], after: Sequence[str], width: int) -> str:
    """Characters that turn the lines ``before`` into ``after``, the cursor below the last one.

    A terminal that has become narrower has wrapped the old lines: they take more rows now.
    """
    rows = sum(max(1, -(-count_cells(line) // width)) for line in before)
    up = f"\x1b[{rows}A\r" if rows else ""
    return up + "".join(f"{line}\x1b[K\n" for line in after) + ("\x1b[J" if rows else "")
