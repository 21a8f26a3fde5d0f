"""The sentences of faults of indentation.  Arguments count lines and columns from 0; faults count from 1."""

from __future__ import annotations

from dataclasses import dataclass, replace

from podhost.manifests.faults import Fault, describe_shift, quantify
from podhost.manifests.frames import Frame

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Place:
    line: int
    column: int
    width: int
    text: str
    """What stands there: the key, or the text itself."""


def with_facts(fault: Fault, *, mendable: bool, shown: tuple[int, ...]) -> Fault:
    return replace(fault, mendable=mendable, shown=shown)


def until(fault: Fault, line: int) -> Fault:
    """The same on one more line."""
    first = fault.line
    return replace(fault, end_line=line + 1, message=f"lines {first} to {line + 1} are indented with tabs")


def _shorten(text: str) -> str:
    """Enough to find it by."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _fault(place: Place, code: str, message: str, meant: str) -> Fault:
    start = place.column + 1
    width = max(1, place.width)
    return Fault(line=place.line + 1, column=start, end_column=start + width, code=code, message=message, meant=meant)


def misplaced(place: Place, home: Frame, by: int, around: Frame | None, what: str) -> Fault:
    """A key that belongs elsewhere.  ``around``: what its column says."""
    key, owner = place.text, home.describe() if home.name else f"the top level of {what}"
    return _fault(place, "layout", _where(key, home, around, place.column, what), _belongs(key, owner, by))


def _belongs(key: str, owner: str, by: int) -> str:
    return f"`{key}` belongs to {owner}: {describe_shift(by)}"


def _where(key: str, home: Frame, around: Frame | None, column: int, what: str) -> str:
    if not home.is_item and not home.columns and home.name:
        return f"`{home.name}` has nothing beneath it, and `{key}` stands beside it"
    if home.is_item and column == home.column - 2:
        return f"`{key}` stands beside the `- ` of its list item"
    if around is None or around is home:
        return f"the indentation of `{key}` fits nothing above it"
    if not around.name:
        return f"`{key}` stands at the top level, where {what} has no such field"
    return f"`{key}` stands in {around.describe()}, which has no such field"


def misplaced_item(place: Place, key: str, by: int) -> Fault:
    where = f"the list `{key}`" if key else "the list above"
    message = f"the indentation of this `- ` fits no list above it; its content fits {where}"
    return _fault(replace(place, width=1), "layout", message, f"the item belongs to {where}: {describe_shift(by)}")


def forgotten_dash(place: Place, home: Frame, *, is_first: bool) -> Fault:
    noun = Frame("map", None, 0, 0, 0, home.name, is_item=True).describe().removeprefix("this ")
    if is_first:
        message = f"`{home.name}` is a list, and no `- ` begins its first item"
        return _fault(
            place,
            "layout",
            message,
            f"put `- ` before the first key of the {noun}, or add the line that is lost",
        )
    message = f"`{place.text}` is set a second time in the same list item"
    return _fault(place, "layout", message, f"`{place.text}` probably begins another {noun}: put `- ` before it")


def missing_parent(place: Place, parent: str) -> Fault:
    message = f"`{place.text}` stands beneath nothing that it could belong to"
    if not parent:
        return _fault(
            place, "layout", message, "give it the column of what it belongs to, or add the line that is lost"
        )
    return _fault(
        place,
        "layout",
        message,
        f"`{place.text}` is a field of `{parent}`: add the line `{parent}:` above it",
    )


def bad_beginning(place: Place, key: str) -> Fault:
    return _fault(place, "syntax", f"a key cannot begin with `{place.text}`", f"did you mean `{key}:`?")


def stray_text(place: Place, line: int, by: int) -> Fault:
    message = f"`{_shorten(place.text)}` is neither a key nor a list item"
    meant = f"it probably goes on with the text that begins in line {line + 1}: {describe_shift(by)}"
    return _fault(place, "layout", message, meant)


def neither(place: Place) -> Fault:
    message = f"`{_shorten(place.text)}` is neither `key: value` nor a list item (`- …`)"
    return _fault(place, "syntax", message, "")


def missing_separator(place: Place, name: str, value: str, colon: str) -> Fault:
    place = replace(place, width=len(name) + len(colon))
    if colon:
        message = f"there is no space behind `{name}:`"
        return _fault(place, "layout", message, f"`{name}: {value}`")
    return _fault(place, "layout", f"there is no `:` behind `{name}`", f"`{name}:`")


def loose_block(key: str, first: int, last: int, column: int, by: int) -> Fault:
    lines = f"lines {first + 1} to {last + 1}" if last > first else f"line {first + 1}"
    owner = f"`{key}`" if key else "the `|` above"
    verb = "belong" if last > first else "belongs"
    return Fault(
        line=first + 1,
        column=column + 1,
        end_line=last + 1,
        code="layout",
        message=f"the text of {owner} is not indented further than {owner} itself",
        meant=f"{lines} {verb} to {owner}: {describe_shift(by, 'them' if last > first else 'it')}",
    )


def uneven_block(key: str, line: int, column: int, by: int) -> Fault:
    owner = f"`{key}`" if key else "the `|` above"
    message = f"this line of the text of {owner} is indented less than the first one"
    meant = f"if it belongs to the text: indent it by at least {quantify(by, 'more space')}"
    return Fault(line=line + 1, column=column + 1, code="layout", message=message, meant=meant)


def deep_beginning(key: str, line: int, column: int, by: int) -> Fault:
    owner = f"`{key}`" if key else "the `|` above"
    message = f"the first line of the text of {owner} is indented further than the others"
    return Fault(line=line + 1, column=column + 1, code="layout", message=message, meant=describe_shift(by))


def tab(line: int, column: int, width: int) -> Fault:
    return Fault(
        line=line + 1,
        column=column + 1,
        end_column=width + 1,
        code="tab",
        message="the line is indented with a tab",
        meant="YAML takes spaces only: put spaces in its place",
    )


def unclosed(line: int, column: int, width: int, opened: str) -> Fault:
    closing = {"[": "]", "{": "}"}.get(opened, opened)
    message = f"the bracket `{opened}` that is opened here is never closed, or not by its own kind"
    if opened in "\"'":
        message = f"the quote `{opened}` that is opened here is never closed"
    place = Place(line, column, width, "")
    return _fault(place, "syntax", message, f"put a `{closing}` where it ends")
