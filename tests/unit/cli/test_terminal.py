"""Tables, sizes and ages as people know them from kubectl and docker."""

from __future__ import annotations

import io

import pytest

from podhost.cli.terminal import StatusLine, format_age, format_bytes, format_table, quote_output


def test_table_has_three_spaces_between_columns_and_none_at_line_ends() -> None:
    text = format_table(("NAME", "READY"), [("mc1", "2/2"), ("longer-name", "")])
    assert text.splitlines() == ["NAME          READY", "mc1           2/2", "longer-name"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (660, "11m"),
        (10800, "3h"),
        (11100, "3h5m"),
        (10 * 3600, "10h"),
        (51 * 3600, "2d3h"),
        (10 * 86400, "10d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_age_is_kubernetes_human_duration(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (76_000_000, "76.0 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_decimal(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_status_line_in_a_pipe_prints_each_text_once() -> None:
    out = io.StringIO()
    line = StatusLine(out)
    for text in ("a 1%", "a 2%"):
        line.show(text, plain="a")
    line.show("b", plain="")
    line.clear()
    assert out.getvalue() == "a\n"


def test_quoted_output_keeps_its_words_and_loses_what_moves_the_cursor() -> None:
    written = "\x1b[31;1mred\x1b[0m \x1b]0;title\x07done\t\u4e2d\x1b[2J\x1b(B\x00\r"
    assert quote_output(written) == "red done    \u4e2d?"
