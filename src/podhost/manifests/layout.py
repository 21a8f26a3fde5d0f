"""Where each line belongs, when its indentation does not say so or says something impossible.

A line-based reader of block YAML.  Each ``key:`` and each ``- `` may belong to any structure that is open above it.
The structure that its column names wins when the schema has such a field there; else the one that costs least: a
field that exists, at a column that is near.  The result has the same lines, moved; nothing else is changed but what
:class:`Layout` lists.

Pure; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podhost.api.schema import Type
from podhost.manifests import layout_words as words
from podhost.manifests.block_text import find_block_end, find_loose_end
from podhost.manifests.candidates import Candidate, choose, list_candidates, map_candidates
from podhost.manifests.faults import Fault
from podhost.manifests.frames import FOREIGN, Frame, child_type
from podhost.manifests.lines import (
    Content,
    dash_width,
    detect_unit,
    indentation,
    is_skipped,
    looks_structural,
    read_content,
)
from podhost.manifests.lookahead import (
    find_meant_column,
    find_meant_dash,
    find_missing_parent,
    following,
    junk_width,
)

TAB_COLUMNS = 2


@dataclass(slots=True)
class Layout:
    """``lines`` are those of the text, mended; ``faults`` have lines that count from 1, and the text's own columns."""

    lines: list[str]
    faults: list[Fault] = field(default_factory=list)
    left_out: bool = False
    """Is anything of the text not in ``lines``?"""
    neutral: set[int] = field(default_factory=set)
    """Lines (from 0) whose value was taken out because it never ends."""
    offsets: dict[int, int] = field(default_factory=dict)
    """How far a line's content has moved to the right; only lines that moved."""


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A plain scalar that the next line may go on with."""

    line: int
    owner_column: int
    text_column: int
    has_more: bool
    text: str


def compute_layout(lines: Sequence[str], root: Type | None, what: str, *, only_certain: bool = False) -> Layout:
    """``what``: the kind, for sentences (``a Pod``).  ``only_certain``: leave alone what has a second reading."""
    return _Reader(lines, root, what, only_certain=only_certain).run()


class _Reader:
    def __init__(self, lines: Sequence[str], root: Type | None, what: str, *, only_certain: bool) -> None:
        self.result = Layout([])
        self.only_certain = only_certain
        self.settled: set[int] = set()
        self.is_certain = True
        self.original = list(lines)
        self.work = [self._without_tabs(line) for line in lines]
        self.what = what
        self.unit = detect_unit(self.work)
        self.root = root
        self.stack: list[Frame] = []
        self.scalar: _Scalar | None = None

    def run(self) -> Layout:
        self.result.lines = list(self.work)
        number = 0
        while number < len(self.work):
            line = self.work[number]
            if is_skipped(line):
                number += 1
                continue
            if "\t" in indentation(self.original[number]):
                self._report_tab(number)
            number = self._read_line(number) + 1
        self._move_comments()
        for index, (before, after) in enumerate(zip(self.original, self.result.lines, strict=True)):
            if by := len(indentation(after)) - len(indentation(before)) if after else 0:
                self.result.offsets[index] = self.result.offsets.get(index, 0) + by
        return self.result

    # --- one line -----------------------------------------------------------------------------------------------
    def _read_line(self, number: int) -> int:
        """Place a line and what goes on beneath it; returns the last line that was taken."""
        line = self.work[number]
        column = len(indentation(line))
        if self._continues(number, column):
            return number
        dash = dash_width(line[column:])
        if dash:
            return self._read_item(number, column, column + dash)
        content = read_content(self.work, number, column, column)
        if content.has_key:
            return self._read_key(number, column, content)
        return self._read_stray(number, column, content)

    def _continues(self, number: int, column: int) -> bool:
        """Does the plain text of the line above go on here?"""
        scalar = self.scalar
        line = self.work[number]
        if scalar is None or (looks_structural(line) and not dash_width(line[column:])):
            return False
        if column <= scalar.owner_column:
            return False
        by = self._shift_of(scalar.line)
        self._shift(number, number, by if column + by > scalar.owner_column else 0)
        self.scalar = _Scalar(scalar.line, scalar.owner_column, scalar.text_column, True, scalar.text)
        return True

    def _read_item(self, number: int, dash: int, start: int) -> int:
        content = read_content(self.work, number, start, dash)
        candidate = self._choose(list_candidates(self.stack, self.work, number, dash, content))
        if candidate is not None and candidate.schema_cost >= FOREIGN and not candidate.is_consistent:
            return self._leave_out(number, dash, content, "")
        if candidate is None:
            self._close_to(-1 if not self.stack else 0)
            items = self._push_list(None, dash, dash, number)
        else:
            key = self.stack[candidate.depth] if candidate.makes == "child" else None
            items, by = self._open_list(candidate, dash, number)
            meant = self._meant_dash(number, dash, start, content, key, items) if candidate.is_consistent else None
            if meant is not None:
                items.column = items.new_column = meant
                self.is_certain = True
                fault = words.misplaced_item(self._place(number, dash, content), items.name, meant - dash)
                self._report(fault, mendable=True, shown=(items.line,))
            elif not candidate.is_consistent and by:
                fault = words.misplaced_item(self._place(number, dash, content), items.name, by)
                self._report(fault, mendable=self.is_certain, shown=(items.line,))
        items.columns.add(dash)
        return self._read_item_content(number, dash, start, items)

    def _meant_dash(
        self, number: int, dash: int, start: int, content: Content, key: Frame | None, items: Frame
    ) -> int | None:
        item = items.type.item if items.type is not None and items.type.kind == "list" else None
        return find_meant_dash(self.work, number, dash, start, content, key, item)

    def _read_item_content(self, number: int, dash: int, start: int, items: Frame) -> int:
        by = items.new_column - dash
        inner = dash_width(self.work[number][start:])
        item_type = items.type.item if items.type is not None and items.type.kind == "list" else None
        if inner:
            nested = Frame("list", item_type, start, start + by, number, items.name)
            self.stack.append(nested)
            nested.columns.add(start)
            return self._read_item_content(number, start, start + inner, nested)
        content = read_content(self.work, number, start, dash)
        if content.has_key:
            item = Frame("map", item_type, start, start + by, number, items.name, is_item=True)
            self.stack.append(item)
            return self._enter_key(number, start, content, item, by)
        if content.shape == "plain" and ":" in content.value and item_type is not None and item_type.kind == "ref":
            return self._mend_colon(number, start, content, Frame("map", item_type, start, start + by, number), by)
        owner = min(dash, items.column)
        return self._take_value(number, owner, content, by, Frame("list", None, dash, dash + by, number))

    def _read_key(self, number: int, column: int, content: Content) -> int:
        if not self.stack:
            root = Frame("map", self.root, column, column, number)
            self.stack.append(root)
            return self._enter_key(number, column, content, root, 0)
        candidate = self._choose(map_candidates(self.stack, column, content))
        if candidate is None:
            return number
        if candidate.schema_cost >= FOREIGN:
            parent = find_missing_parent(self.stack, content, column)
            if parent or not candidate.is_consistent:
                return self._leave_out(number, column, content, parent)
        around = {frame.column: frame for frame in self.stack if frame.kind == "map"}.get(column)
        home = self._open_map(candidate, column, number, content)
        by = home.new_column - column
        place = self._place(number, column, content)
        if candidate.makes in ("item", "first-item"):
            self._report(words.forgotten_dash(place, home, is_first=candidate.makes == "first-item"))
            self.result.neutral.add(number)
        elif by and (not candidate.is_consistent or home.column != column):
            fault = words.misplaced(place, home, by, around, self.what)
            self._report(fault, mendable=self.is_certain, shown=(home.line,))
            by = 0 if self.only_certain and not self.is_certain else by
        last = self._enter_key(number, column, content, home, by)
        if candidate.makes in ("item", "first-item") and not self.only_certain:
            self.result.lines[number] = f"{' ' * max(0, home.new_column - 2)}- {self.work[number].lstrip(' ')}"
            self.result.offsets[number] = 2
        return last

    def _enter_key(self, number: int, column: int, content: Content, home: Frame, by: int) -> int:
        """A key has found its mapping, which is on top of the stack."""
        home.note_key(content, number, column)
        frame = Frame("key", child_type(home.type, content.key), column, column + by, number, content.key)
        frame.is_open = content.shape == "empty"
        self.stack.append(frame)
        return self._take_value(number, column, content, by, frame)

    def _take_value(self, number: int, owner: int, content: Content, by: int, frame: Frame) -> int:
        """The rest of a line, and of the lines that it goes on in."""
        self.scalar = None
        last = content.last_line
        self._shift(number, last, by)
        if content.unclosed:
            self._neutralise(number, content)
        elif content.shape == "plain":
            text_column = content.value_column if not content.has_key else owner + self.unit
            self.scalar = _Scalar(number, owner, text_column + by, False, content.key or content.value)
        elif content.shape == "block":
            last = self._take_block(number, owner, content, by, frame)
        return last

    # --- stray text ---------------------------------------------------------------------------------------------
    def _read_stray(self, number: int, column: int, content: Content) -> int:
        """A line that is neither key nor item, and that nothing above goes on with."""
        place = self._place(number, column, content)
        home = next((f for f in reversed(self.stack) if f.kind == "map" and column in f.columns), None)
        word = content.value.split(":", 1)[0].split(" #", 1)[0].strip()
        if home is not None and word and child_type(home.type, word) is not None and word not in home.keys:
            return self._mend_colon(number, column, content, home, home.new_column - column)
        if junk := junk_width(content.value):
            return self._drop_junk(number, column, content, junk)
        top = self.stack[-1] if self.stack else None
        if top is not None and top.kind == "key" and top.is_open and column > top.column:
            top.is_open = False
            return self._take_value(number, top.column, content, top.new_column - top.column, top)
        scalar = self.scalar
        if scalar is not None:
            by = max(scalar.text_column, 0) - column
            if by:
                self._report(words.stray_text(place, scalar.line, by), mendable=scalar.has_more, shown=(scalar.line,))
            if scalar.has_more or not self.only_certain:
                self._shift(number, number, by)
            self.scalar = _Scalar(scalar.line, scalar.owner_column, scalar.text_column, True, scalar.text)
            return number
        self._blank(number, words.neither(place))
        return content.last_line

    def _drop_junk(self, number: int, column: int, content: Content, width: int) -> int:
        """``@name: x``: read on as if the key began where it can."""
        junk = content.value[:width].strip()
        place = words.Place(number, content.column, len(junk), junk)
        line = self.work[number]
        rest = line[:column] + line[content.column + width :]
        self._report(words.bad_beginning(place, rest.strip().partition(":")[0]))
        if self.only_certain:
            return content.last_line
        self.work[number] = self.result.lines[number] = rest
        self.result.neutral.add(number)
        return self._read_line(number)

    def _leave_out(self, number: int, column: int, content: Content, parent: str) -> int:
        """A line is missing above, or nothing takes this one: what stands beneath it cannot be read.

        Without a name for what is missing it is told only when nothing else is wrong: it may follow from that.
        """
        if parent or not self.result.faults:
            self._report(words.missing_parent(self._place(number, column, content), parent))
        last = number
        for index in following(self.work, number):
            if len(indentation(self.work[index])) < column:
                break
            last = index
        self.result.left_out = True
        for index in range(number, last + 1):
            if not self.only_certain:
                self.result.lines[index] = ""
            self.result.neutral.add(index)
        return last

    def _mend_colon(self, number: int, column: int, content: Content, home: Frame, by: int) -> int:
        """``image:nginx`` or ``spec`` alone: a space or a colon is missing."""
        text = content.value
        name, colon, value = text.partition(":")
        name = name.split(" #", 1)[0].strip()
        if child_type(home.type, name) is None:
            return self._take_value(number, column, content, by, home)
        cut = content.column + len(name) + len(colon)
        line = self.work[number]
        self.work[number] = line[:cut] + (" " if colon else ":") + line[cut:]
        self.result.lines[number] = self.work[number]
        fault = words.missing_separator(self._place(number, column, content), name, value, colon)
        self._report(fault, mendable=True)
        if home not in self.stack:
            self.stack.append(home)
        else:
            self._close_to(self.stack.index(home))
        return self._enter_key(number, column, read_content(self.work, number, column, column), home, by)

    # --- block text ---------------------------------------------------------------------------------------------
    def _take_block(self, number: int, owner: int, content: Content, by: int, frame: Frame) -> int:
        first = next((n for n in range(number + 1, len(self.work)) if self.work[n].strip()), None)
        if first is None:
            return number
        if len(indentation(self.original[first]).partition("\t")[0]) > owner:
            last = find_block_end(self.work, first, owner)
            self._shift(number + 1, last, by)
            self._check_block(number, first, last, owner, content)
            return last
        probe = next((n for n in range(first, len(self.work)) if not is_skipped(self.work[n])), None)
        if probe is None or looks_structural(self.work[probe]):
            return number
        last = find_loose_end(self.work, first, owner, self.stack)
        texts = [line for line in self.work[first : last + 1] if line.strip()]
        shift = owner + self.unit - min(len(indentation(line)) for line in texts)
        doubtful = any(looks_structural(t) and len(indentation(t)) <= owner for t in texts)
        fault = words.loose_block(content.key, first, last, len(indentation(self.original[first])), shift)
        self._report(fault, mendable=not doubtful, shown=(number,))
        if not (doubtful and self.only_certain):
            self._shift(first, last, shift + by)
        return last

    def _check_block(self, number: int, first: int, last: int, owner: int, content: Content) -> None:
        """Text that is indented less than its first line ends the block for a YAML parser."""
        if any(char.isdigit() for char in content.value.split("#")[0]):
            return
        column = len(indentation(self.work[first]))
        others = [len(indentation(line)) for line in self.work[first + 1 : last + 1] if line.strip()]
        if len(others) > 1 and max(owner, 0) < min(others) < column and sum(c < column for c in others) > 1:
            by = min(others) - column
            self._report(words.deep_beginning(content.key, first, column, by), mendable=True, shown=(number, first + 1))
            self._shift(first, first, self._shift_of(number) + by)
            return
        end = max(index for index in range(first, last + 1) if index == first or not is_skipped(self.work[index]))
        for index in range(first, last + 1):
            line = self.work[index]
            if line.strip() and len(indentation(line)) < column and (index < end or not is_skipped(line)):
                by = column - len(indentation(line))
                self._report(words.uneven_block(content.key, index, len(indentation(line)), by), shown=(number, first))
                if not self.only_certain:
                    self._shift(index, index, by)

    def _choose(self, candidates: list[Candidate]) -> Candidate | None:
        best, self.is_certain = choose(candidates)
        return best

    # --- the stack ----------------------------------------------------------------------------------------------
    def _close_to(self, depth: int) -> None:
        del self.stack[depth + 1 :]

    def _open_map(self, candidate: Candidate, column: int, number: int, content: Content) -> Frame:
        self._close_to(candidate.depth)
        frame = self.stack[-1]
        if candidate.makes == "member":
            return frame
        if candidate.makes == "item":
            self.stack.pop()
            item = Frame("map", frame.type, frame.column, frame.new_column, number, frame.name, is_item=True)
            item.columns.add(frame.column)
            self.stack.append(item)
            return item
        frame.is_open = False
        if candidate.makes == "first-item":
            dash = column - 2 if column - 2 >= frame.new_column else frame.new_column
            items = self._push_list(frame, dash, dash, number)
            item_type = frame.type.item if frame.type is not None else None
            item = Frame("map", item_type, column, dash + 2, items.line, frame.name, is_item=True)
            self.stack.append(item)
            return item
        new = column if column > frame.new_column else frame.new_column + max(self.unit, column - frame.column)
        if not candidate.is_consistent:
            new = frame.new_column + self.unit
        # Its neighbours at the same wrong column are told as well.
        believed = column if candidate.is_consistent else new
        home = Frame("map", frame.type, believed, new, frame.line, frame.name)
        if candidate.is_consistent:
            meant = find_meant_column(self.work, number, column, content, frame, self.unit)
            if meant is not None:
                home.column = home.new_column = meant
                self.is_certain = True
        self.stack.append(home)
        return home

    def _open_list(self, candidate: Candidate, dash: int, number: int) -> tuple[Frame, int]:
        self._close_to(candidate.depth)
        frame = self.stack[-1]
        if candidate.makes == "member":
            return frame, frame.new_column - dash
        frame.is_open = False
        new = dash if dash >= frame.new_column else frame.new_column + max(0, dash - frame.column)
        return self._push_list(frame, dash, new, number), new - dash

    def _push_list(self, key: Frame | None, dash: int, new: int, number: int) -> Frame:
        line = key.line if key else number
        items = Frame("list", key.type if key else None, dash, new, line, key.name if key else "")
        self.stack.append(items)
        return items

    # --- changes and reports ------------------------------------------------------------------------------------
    def _place(self, number: int, column: int, content: Content) -> words.Place:
        before = len(indentation(self.original[number])) - len(indentation(self.work[number]))
        text = content.key if content.has_key else content.value
        return words.Place(number, column + before, content.key_width or len(content.value), text)

    def _report(self, fault: Fault, *, mendable: bool = False, shown: tuple[int, ...] = ()) -> None:
        lines = tuple(sorted({number + 1 for number in shown} | set(fault.shown)))
        self.result.faults.append(words.with_facts(fault, mendable=mendable, shown=lines))

    def _report_tab(self, number: int) -> None:
        before = self.result.faults[-1] if self.result.faults else None
        width = len(indentation(self.original[number]))
        if before is not None and before.code == "tab" and (before.end_line or before.line) == number:
            self.result.faults[-1] = words.until(before, number)
            return
        self._report(words.tab(number, self.original[number].index("\t"), width), mendable=True)

    def _without_tabs(self, line: str) -> str:
        space = indentation(line)
        if "\t" not in space or not line.strip():
            return line
        return space.replace("\t", " " * TAB_COLUMNS) + line[len(space) :]

    def _shift_of(self, number: int) -> int:
        return len(indentation(self.result.lines[number])) - len(indentation(self.work[number]))

    def _shift(self, first: int, last: int, by: int) -> None:
        for number in range(first, last + 1):
            line = self.work[number]
            self.settled.add(number)
            if line.strip():
                self.result.lines[number] = " " * max(0, len(indentation(line)) + by) + line.lstrip(" ")

    def _neutralise(self, number: int, content: Content) -> None:
        if not self.only_certain:
            self._cut_value(number, content)
        before = len(indentation(self.original[number])) - len(indentation(self.work[number]))
        width = content.value_column + len(content.value) - content.unclosed_column
        self._report(words.unclosed(number, content.unclosed_column + before, width, content.unclosed))

    def _cut_value(self, number: int, content: Content) -> None:
        line = self.result.lines[number]
        cut = line.rindex(content.value) if content.value in line else len(line)
        self.result.lines[number] = line[:cut] + "~"
        self.result.neutral.add(number)

    def _blank(self, number: int, fault: Fault) -> None:
        if not self.only_certain:
            self.result.lines[number] = ""
        self.result.neutral.add(number)
        self.result.left_out = True
        self._report(fault)

    def _move_comments(self) -> None:
        """Comments stay with the line that they stand above."""
        by = 0
        for number in range(len(self.work) - 1, -1, -1):
            line = self.work[number]
            if line.strip() and not is_skipped(line):
                by = self._shift_of(number)
            elif line.strip() and by and number not in self.settled:
                self._shift(number, number, by)
