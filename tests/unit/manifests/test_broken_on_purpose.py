"""Good manifests broken at random: never a traceback, never a line that does not exist, never a fault far from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podhost.manifests.faults import Fault
from podhost.manifests.render import render_fault, render_github, render_line, to_json
from podhost.manifests.report import check_text, mend_text

EXAMPLES = Path(__file__).parents[3] / "examples"
PARTS = [
    part for name in ("mc1", "mc2", "mc3") for part in (EXAMPLES / name / f"{name}.yaml").read_text().split("---\n")
]
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def check_everything(text: str) -> list[Fault]:
    """What every text must bear."""
    report = check_text(text)
    for fault in report.faults:
        assert 1 <= fault.line <= max(1, len(report.lines)), fault
        assert 1 <= fault.column <= len(report.lines[fault.line - 1]) + 1, fault
        assert fault.line <= (fault.end_line or fault.line) <= len(report.lines), fault
        assert all(1 <= line <= len(report.lines) for line in fault.shown), fault
        assert "None" not in fault.message + fault.meant, fault
        assert render_fault("f", fault, report.lines)
        assert render_line("f", fault).count("\n") == render_github("f", fault).count("\n") == 0
        assert to_json("f", fault)["line"] == fault.line
    mended, told = mend_text(text)
    assert bool(told) == (mended != text)
    assert len(check_text(mended).faults) <= len(report.faults)
    return report.faults


@st.composite
def broken_line(draw: st.DrawFn, change: Callable[[str, st.DrawFn], str | None]) -> tuple[str, str, int]:
    """A good text, the same with one line changed, and the number of that line."""
    lines = draw(st.sampled_from(PARTS)).splitlines()
    where = draw(st.sampled_from([index for index, line in enumerate(lines) if line.strip()]))
    changed = change(lines[where], draw)
    after = lines[:where] + ([] if changed is None else [changed]) + lines[where + 1 :]
    return "\n".join(lines) + "\n", "\n".join(after) + "\n", where + 1


def means_the_same(before: str, after: str) -> bool:
    try:
        return bool(yaml.safe_load(before) == yaml.safe_load(after))
    except yaml.YAMLError:
        return False


def dedent(line: str, draw: st.DrawFn) -> str:
    width = len(line) - len(line.lstrip())
    return " " * draw(st.integers(0, max(0, width - 1))) + line.lstrip()


def rename(line: str, _draw: st.DrawFn) -> str:
    """A key loses its last letter."""
    key, colon, value = line.partition(":")
    return f"{key[:-1]}:{value}" if colon and len(key.strip(" -")) > 3 else line


def retype(line: str, draw: st.DrawFn) -> str:
    key, colon, _ = line.partition(": ")
    return f"{key}: {draw(st.sampled_from(['[a]', '{b: c}', 'yes', '7', '~']))}" if colon else line


@SETTINGS
@given(broken_line(dedent))
def test_line_that_lost_indentation_is_told_where_it_is(case: tuple[str, str, int]) -> None:
    before, after, number = case
    faults = check_everything(after)
    if faults and not means_the_same(before, after):
        assert any(abs(fault.line - number) <= 1 or fault.line <= number <= fault.end_line for fault in faults), faults


@SETTINGS
@given(broken_line(rename))
def test_misspelt_key_is_told_in_its_line(case: tuple[str, str, int]) -> None:
    before, after, number = case
    faults = check_everything(after)
    if faults and not means_the_same(before, after):
        assert number in [fault.line for fault in faults], faults


@SETTINGS
@given(broken_line(retype))
def test_value_of_another_type_is_told_in_its_line_or_where_it_is_used(case: tuple[str, str, int]) -> None:
    before, after, number = case
    faults = check_everything(after)
    if not means_the_same(before, after) and "[a]" in after.splitlines()[number - 1] + "":
        key = after.splitlines()[number - 1].strip(" -").partition(":")[0]
        if key not in ("command", "args", "nginx.conf") and ";" not in key:
            assert number in [fault.line for fault in faults], faults


@SETTINGS
@given(broken_line(lambda _line, _draw: None))
def test_lost_line_is_no_traceback(case: tuple[str, str, int]) -> None:
    check_everything(case[1])


@SETTINGS
@given(st.data())
def test_stray_character_is_no_traceback(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(PARTS))
    at = data.draw(st.integers(0, len(text)))
    check_everything(text[:at] + data.draw(st.sampled_from("{}[]:-#\"'|>&*!%@`\t\\,?\n x~…\x07")) + text[at:])


@SETTINGS
@given(st.text(alphabet="ab:-#\"'|>[]{}&*!?, \t\n~", max_size=60))
def test_any_text_is_no_traceback(text: str) -> None:
    check_everything(text)
