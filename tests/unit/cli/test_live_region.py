"""Lines that are drawn over again, seen as a terminal shows them."""

from __future__ import annotations

import re

import pytest

from podhost.cli.live_region import build_frame
from podhost.cli.terminal import clean_text, count_cells, cut_text

_TOKEN = re.compile(r"\x1b\[(\d*)([AJK])|(\r)|(\n)|([^\x1b\r\n]+)")


def show(text: str, screen: list[str]) -> list[str]:
    """A terminal that knows the few sequences of :func:`build_frame`; the cursor begins below ``screen``."""
    rows, row, column = [*screen, ""], len(screen), 0
    for number, verb, home, newline, words in _TOKEN.findall(text):
        if verb == "A":
            row -= int(number)
        elif verb == "J":
            rows = [*rows[:row], rows[row][:column]]
        elif verb == "K":
            rows[row] = rows[row][:column]
        elif home:
            column = 0
        elif newline:
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        else:
            rows[row] = rows[row][:column] + words + rows[row][column + len(words) :]
            column += len(words)
    assert (row, column) == (len(rows) - 1, 0), "the cursor is below the last line"
    return rows[:-1]


@pytest.mark.parametrize(
    "after", [["one", "two"], ["a longer line", "x", "third"], ["o"], []], ids=["same", "more", "fewer", "none"]
)
def test_new_lines_take_the_place_of_the_old(after: list[str]) -> None:
    screen = show(build_frame([], ["one", "two"], 80), ["$ podhost up"])
    assert screen == ["$ podhost up", "one", "two"]
    assert show(build_frame(["one", "two"], after, 80), screen) == ["$ podhost up", *after]


def test_lines_that_a_narrower_terminal_has_wrapped_are_erased_too() -> None:
    before = ["\x1b[32m" + "x" * 25 + "\x1b[0m", "short"]
    wrapped = ["$", "x" * 10, "x" * 10, "x" * 5, "short"]
    assert show(build_frame(before, ["new"], 10), wrapped) == ["$", "new"]


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [("short", 9, "short"), ("much longer", 5, "much…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("abc", 0, "")],
)
def test_text_is_cut_by_the_columns_it_takes(text: str, width: int, cut: str) -> None:
    assert cut_text(text, width) == cut
    assert count_cells(cut) <= width


def test_clean_text_is_one_line_without_control_characters() -> None:
    assert clean_text(" a\nb\x1b[1mc\x00 ") == "a b?[1mc?"
