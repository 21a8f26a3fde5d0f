"""Tables, sizes and ages as people know them from kubectl and docker."""

from __future__ import annotations

import io

import pytest

from podhost.cli.terminal import StatusLine, format_age, format_bytes, format_table


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
