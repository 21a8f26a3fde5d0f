"""Manual pages: every command has one, with examples; text is not taken for roff."""

from __future__ import annotations

import argparse

import pytest

from podhost.cli.main import COMMANDS, parser_of
from podhost.cli.man import build_page
from podhost.cli.man_pages import build_command_page, escape, split_epilog


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_in_its_help_and_on_its_page(name: str) -> None:
    _, sections = split_epilog(parser_of(name).epilog or "")
    examples = dict(sections).get("examples", "")
    assert f"podhost {name}" in examples or f" {name}" in examples
    assert ".SH EXAMPLES" in build_page(name)


def test_overview_names_every_command() -> None:
    page = build_page("")
    names = [name.replace("-", "\\-") for name in COMMANDS]
    assert all(f"podhost\\-{name}\\fR(1)" in page for name in names)


def test_epilog_is_cut_at_its_headings() -> None:
    text = "First words\ngo on.\n\nSecond: not a heading.\n\nexit codes:\n  0  good\n\nexamples:\n  one\n\n  two\n"
    paragraphs, sections = split_epilog(text)
    assert paragraphs == ["First words go on.", "Second: not a heading."]
    assert sections == [("exit codes", "  0  good"), ("examples", "  one\n\n  two")]


def test_text_is_not_taken_for_roff() -> None:
    assert escape(".start\nit's \\n -x `y`") == "\\&.start\nit\\(aqs \\en \\-x \\(gay\\(ga"


def test_page_has_arguments_flags_and_verbs() -> None:
    parser = argparse.ArgumentParser(prog="podhost try")
    parser.add_argument("--size", metavar="BYTES", default=5, help="how much (%(default)s)")
    parser.add_argument("--secret", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(metavar="VERB")
    verbs.add_parser("go", help="leave").add_argument("where")
    page = build_command_page("try", "test things", parser, "1.0")
    assert "\\fB\\-\\-size\\fR \\fIBYTES\\fR\nhow much (5)" in page
    assert '.SS "go \\fIwhere\\fR"\nleave' in page
    assert "secret" not in page
