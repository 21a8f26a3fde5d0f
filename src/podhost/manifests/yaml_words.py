"""What a YAML parser says, in words that help the author."""

from __future__ import annotations

from collections.abc import Sequence

from podhost.manifests.faults import Fault
from podhost.manifests.lines import indentation, is_skipped, looks_structural
from podhost.manifests.yaml_nodes import YamlFaultError

_UNSTARTABLE = "@`%"


def explain_yaml(error: YamlFaultError, lines: Sequence[str]) -> Fault:
    """The parser's problem at the place where an author looks for it.  Lines of the result count from 1."""
    line, column = _clamp(error.line, error.column, lines)
    problem = error.problem
    if error.is_final:
        return _at(line, column, lines, problem, "")
    text = lines[line] if lines else ""
    if "quoted scalar" in error.context and error.context_line >= 0:
        return _at(error.context_line, error.context_column, lines, "the quote that is opened here is never closed",
                   "put the same quote where it ends")  # fmt: skip
    if error.context.startswith("while parsing a flow") and error.context_line >= 0:
        bracket, closing = ("[", "]") if "sequence" in error.context else ("{", "}")
        message = f"the bracket `{bracket}` that is opened here is not closed, or a comma is missing in it"
        return _at(error.context_line, error.context_column, lines, message, f"put a `{closing}` where it ends")
    if "mapping values are not allowed" in problem:
        return _second_colon(line, column, lines)
    if "tab" in problem:
        return _at(line, column, lines, "there is a tab where YAML takes spaces only", "put spaces in its place")
    if "could not find expected ':'" in problem:
        begin = error.context_line if 0 <= error.context_line < len(lines) else line
        shown = lines[begin].strip()[:40]
        message = f"`{shown}` is neither `key: value` nor goes on with the line above"
        return _at(begin, len(indentation(lines[begin])), lines, message, "")
    if text[column : column + 1] and text[column] in _UNSTARTABLE:
        return _at(line, column, lines, f"a value cannot begin with `{text[column]}`", "put the value in quotes")
    if "alias" in problem or "alias" in error.context:
        return _at(
            line,
            column,
            lines,
            f"{problem}: a value that begins with `*` is an alias",
            "put the value in quotes",
        )
    if "did not find expected key" in problem or "expected '-' indicator" in problem or "<block end>" in problem:
        return _uneven(line, column, lines)
    context = f" ({error.context})" if error.context else ""
    return _at(line, column, lines, f"this is not YAML: {problem}{context}", "")


def _clamp(line: int, column: int, lines: Sequence[str]) -> tuple[int, int]:
    """The parser often stops at the end of the text: the last line that has something is meant."""
    line = max(0, min(line, len(lines) - 1))
    while line > 0 and is_skipped(lines[line]):
        line, column = line - 1, 10**6
    return line, max(0, min(column, len(lines[line].rstrip()) if lines else 0))


def _at(line: int, column: int, lines: Sequence[str], message: str, meant: str) -> Fault:
    line, column = _clamp(line, column, lines)
    rest = lines[line][column:].split(":", 1)[0].rstrip() if lines else ""
    return Fault(
        line=line + 1,
        column=column + 1,
        end_column=column + 1 + max(1, len(rest)),
        code="syntax",
        message=message,
        meant=meant,
    )


def _second_colon(line: int, column: int, lines: Sequence[str]) -> Fault:
    before = lines[line][:column]
    if ": " in before.strip():
        message = "a value that is not in quotes cannot contain `: `"
        return _at(line, len(indentation(before)), lines, message, "put the value in quotes")
    start = len(indentation(lines[line]))
    message = f"`{before.strip()[:40]}` is indented further than what it stands beneath allows"
    return _at(line, start, lines, message, "a key stands at the same column as its neighbours")


def _uneven(line: int, column: int, lines: Sequence[str]) -> Fault:
    start = len(indentation(lines[line]))
    if looks_structural(lines[line]) and column <= start + 2:
        return _at(line, start, lines, "the indentation of this line fits nothing above it",
                   "give it the column of the keys or list items that it belongs to")  # fmt: skip
    return _at(line, column, lines, "this is neither `key: value` nor a list item (`- …`)", "")
