"""Which images a Containerfile stands on; pure.  Only as much of the language as that takes."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|(?P<plain>\w+))")
_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)


def find_base_images(text: str) -> list[str]:
    """References after ``FROM`` and in ``COPY --from=``, without stages and ``scratch``, in order.

    ``ARG`` defaults before the first ``FROM`` are filled in.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, None] = {}
    for words in _instructions(text):
        verb = words[0].upper()
        if verb == "ARG" and not stages and not found:
            for word in words[1:]:
                key, _, value = word.partition("=")
                arguments[key] = _expand(value.strip("\"'"), arguments)
        elif verb == "FROM":
            _add_from([_expand(word, arguments) for word in words[1:]], stages, found)
        elif verb in ("COPY", "ADD", "RUN"):
            for word in words[1:]:
                if match := re.search(r"(?:^--|,)from=([^,]+)", word):
                    _add(_expand(match[1], arguments), stages, found)
    return list(found)


def _add_from(words: list[str], stages: set[str], found: dict[str, None]) -> None:
    words = [word for word in words if not word.startswith("--")]
    if words:
        _add(words[0], stages, found)
    if len(words) >= 3 and words[1].upper() == "AS":
        stages.add(words[2].lower())


def _add(reference: str, stages: set[str], found: dict[str, None]) -> None:
    if reference and reference != "scratch" and not reference.isdigit() and reference.lower() not in stages:
        found[reference] = None


def _expand(word: str, arguments: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        return arguments.get(match["braced"] or match["plain"] or "") or match["default"] or ""

    return _VARIABLE.sub(replace, word)


def _instructions(text: str) -> list[list[str]]:
    escape = match[1] if (match := _DIRECTIVE.match(text)) else "\\"
    lines: list[str] = []
    pending = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith(escape):
            pending += line[: -len(escape)] + " "
            continue
        lines.append(pending + line)
        pending = ""
    return [words for line in [*lines, pending] if (words := line.split())]
