"""Files of environment variables in a pod's volumes (``fileKeyRef``, KEP-3721).

The format is a part of what a POSIX shell reads: ``NAME='value'`` lines, where the quotes keep everything but a
single quote, line ends too; comments, blank lines and spaces before a name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from podhost.api import models
from podhost.cri.volumes import MountedVolume
from podhost.errors import InvalidError
from podhost.linux.paths import open_beneath

_MAX_BYTES = 1 << 20
_BLANK = re.compile(r"[ \t]*(?:#.*)?")

EnvFiles = Mapping[tuple[str, str], str | None]
"""Text by volume and path; ``None``: there is no such file."""


def find_value(text: str, key: str) -> str | None:
    """The first value of a key; ``None``: it is not there.

    Raises:
        InvalidError: The file breaks a rule, with the line where it does.
    """
    at, line = 0, 1
    while at < len(text):
        end = _end_of_line(text, at)
        if _BLANK.fullmatch(text, at, end):
            at, line = end + 1, line + 1
            continue
        name, value, after = _read_variable(text, at, line)
        if name == key:
            return value
        line += text.count("\n", at, after)
        at = after
    return None


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _read_variable(text: str, at: int, line: int) -> tuple[str, str, int]:
    """(name, value, where the next line begins)."""
    end = _end_of_line(text, at)
    wrong = f"invalid environment variable format at line {line}"
    name, equals, rest = text[at:end].lstrip(" \t").partition("=")
    if not equals or not name:
        raise InvalidError(wrong)
    if name != name.rstrip():
        raise InvalidError(f"{wrong}: whitespace before '=' is not allowed")
    if not rest.startswith("'"):
        raise InvalidError(f"{wrong}: value must be enclosed in single quotes")
    begin = end - len(rest) + 1
    close = text.find("'", begin)
    if close < 0:
        raise InvalidError(f"{wrong}: unclosed single quote")
    after = _end_of_line(text, close)
    if not re.fullmatch(r"[ \t\r]*(?:[ \t]#.*)?", text[close + 1 : after]):
        raise InvalidError(f"{wrong}: unexpected content after closing quote")
    return name, text[begin:close], after + 1


def read_env_files(container: models.Container, mounted: Mapping[str, MountedVolume]) -> EnvFiles:
    """All files that variables of the container refer to.  Blocking; raises OSError."""
    found: dict[tuple[str, str], str | None] = {}
    for variable in container.env:
        ref = variable.value_from.file_key_ref if variable.value_from else None
        if ref is not None and ref.volume_name in mounted:
            found[ref.volume_name, ref.path] = _read(mounted[ref.volume_name].host_path, ref.path)
    return found


def _read(root: Path, path: str) -> str | None:
    """The file beneath its volume, whatever links the pod has laid there."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    finally:
        os.close(root_fd)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no regular file")
        return os.read(fd, _MAX_BYTES).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)
