"""What a half-written command line asks for: pure, from the same parsers that run the commands.

What stands at a place is known from its metavar or flag (``POD``, ``FILE``, ``--container`` …), so a new command is
completed as soon as it is in the table of commands.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

ParserOf = Callable[[str], argparse.ArgumentParser]

_BY_DEST = {
    "namespace": "namespace",
    "context": "context",
    "instance": "instance",
    "kubeconfig": "file",
    "container": "container",
    "selector": "label",
}
_BY_METAVAR = {
    "POD": "pod",
    "FILE": "file",
    "PATH": "file",
    "DIR": "directory",
    "DIRECTORY": "directory",
    "IMAGE": "image",
    "KIND/NAME": "object",
    "TYPE/NAME": "object",
    "CONTAINER": "container",
    "COMMAND-NAME": "command",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What may stand where the cursor is."""

    words: Mapping[str, str] = field(default_factory=dict)
    """Fixed words with their meaning."""
    kinds: tuple[str, ...] = ()
    """What must be asked for: ``pod``, ``container``, ``namespace``, ``file`` …"""
    prefix: str = ""
    """``--flag=`` before the value that is completed."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Values of flags, and the first pod, by their names in the parser."""


def parse_words(words: Sequence[str], commands: Mapping[str, str], parser_of: ParserOf) -> Wanted:
    """Args:
    words: Those after ``podhost``; the last one is being written and may be empty.
    commands: Names and what they do.
    parser_of: The parser of a command.
    """
    from podhost.cli.main import add_global_arguments, find_command

    done, current = list(words[:-1]), words[-1]
    index = find_command(done)
    if index is not None and done[index] in commands:
        name = done.pop(index)
        return _Reader(parser_of(name)).read(done, current)
    top = argparse.ArgumentParser(add_help=False)
    add_global_arguments(top)
    wanted = _Reader(top).read(done, current)
    if wanted.kinds or wanted.words or current.startswith("-") or index is not None:
        return wanted
    return Wanted(words=commands, given=wanted.given)


class _Reader:
    """Walks over the words as argparse would."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._given: dict[str, str] = {}
        self._only_positional = False
        self._enter(parser)

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        self._positionals = [action for action in parser._actions if not action.option_strings]
        self._options = {flag: action for action in parser._actions for flag in action.option_strings}
        self._seen = 0

    def read(self, done: Sequence[str], current: str) -> Wanted:
        waiting: argparse.Action | None = None
        for word in done:
            if waiting is not None:
                self._given[waiting.dest] = word
                waiting = None
            else:
                waiting = self._take(word)
        if waiting is not None:
            return self._value_of(waiting)
        flag, equals, _ = current.partition("=")
        if not self._only_positional and current.startswith("-"):
            if equals and flag in self._options:
                return self._value_of(self._options[flag], prefix=f"{flag}=")
            return Wanted(words=self._flags(), given=self._given)
        action = self._positional()
        return Wanted(given=self._given) if action is None else self._value_of(action)

    def _take(self, word: str) -> argparse.Action | None:
        """The flag that waits for the next word as its value."""
        if word == "--":
            self._only_positional = True
            return None
        if word.startswith("-") and len(word) > 1 and not self._only_positional:
            flag, equals, value = word.partition("=")
            action = self._options.get(flag) or self._options.get(word[:2])
            if action is None or action.nargs == 0:
                return None
            if equals or (flag not in self._options and len(word) > 2):
                self._given[action.dest] = value or word[2:]
                return None
            return action
        action = self._positional()
        if action is None:
            return None
        if isinstance(action, argparse._SubParsersAction):
            chosen = action.choices.get(word)
            if chosen is not None:
                self._enter(chosen)
            return None
        self._given.setdefault("pod" if "pod" in kinds_of(action) else action.dest, word)
        self._seen += 1
        return None

    def _positional(self) -> argparse.Action | None:
        for index, action in enumerate(self._positionals):
            many = action.nargs in ("+", "*", argparse.REMAINDER)
            if index == self._seen or (many and index <= self._seen):
                return action
        return None

    def _flags(self) -> dict[str, str]:
        """Long flags, and short ones that have no long one."""
        return {
            flag: _first_sentence(action.help)
            for flag, action in self._options.items()
            if action.help != argparse.SUPPRESS
            and (flag.startswith("--") or not any(other.startswith("--") for other in action.option_strings))
        }

    def _value_of(self, action: argparse.Action, prefix: str = "") -> Wanted:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: _first_sentence(choice.help) for choice in action._choices_actions}
            return Wanted(words=helps, given=self._given)
        if action.choices is not None:
            return Wanted(words=dict.fromkeys(map(str, action.choices), ""), prefix=prefix, given=self._given)
        return Wanted(kinds=kinds_of(action), prefix=prefix, given=self._given)


def kinds_of(action: argparse.Action) -> tuple[str, ...]:
    """What an argument takes, by its flag or by the words of its metavar."""
    if action.option_strings and action.dest in _BY_DEST:
        return (_BY_DEST[action.dest],)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    parts = metavar.strip("[]").replace(":]", "|").replace("[", "").replace("]", "").split("|")
    if metavar in ("SOURCE", "TARGET"):
        return ("pod-path", "file")
    return tuple(dict.fromkeys(_BY_METAVAR[part] for part in parts if part in _BY_METAVAR))


def _first_sentence(text: str | None) -> str:
    """Without what is in brackets: there is one line for it."""
    return re.sub(r" \([^)]*\)", "", text or "").split(";")[0].strip()
