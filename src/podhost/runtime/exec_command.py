"""Whether a command can be run in a container, looked up before, so that a user gets the field's words for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from podhost.linux.paths import open_beneath
from podhost.runtime.oci_spec import DEFAULT_PATH

_PREFIX = "OCI runtime exec failed: exec failed: unable to start container process: "


def find_command_problem(root: Path, command: str, environment: Sequence[str], cwd: str) -> tuple[str, int] | None:
    """Message and exit code (127 absent, 126 not executable), or ``None``.  Blocking.

    Only what is certain is reported: permissions depend on the user and are left to the kernel.
    """
    try:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if "/" in command:
            return _check_path(root_fd, command, cwd)
        return _search(root_fd, command, environment)
    finally:
        os.close(root_fd)


def _check_path(root_fd: int, command: str, cwd: str) -> tuple[str, int] | None:
    try:
        mode = _mode(root_fd, command if command.startswith("/") else f"{cwd}/{command}")
    except (FileNotFoundError, NotADirectoryError):
        return f'{_PREFIX}exec: "{command}": stat {command}: no such file or directory: unknown', 127
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return f'{_PREFIX}exec: "{command}": is a directory: unknown', 126
    if not mode & 0o111:
        return f'{_PREFIX}exec: "{command}": permission denied: unknown', 126
    return None


def _search(root_fd: int, command: str, environment: Sequence[str]) -> tuple[str, int] | None:
    path = next((item[5:] for item in reversed(environment) if item.startswith("PATH=")), DEFAULT_PATH)
    for directory in path.split(":"):
        try:
            mode = _mode(root_fd, f"{directory or '.'}/{command}")
        except OSError:
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return None
    return f'{_PREFIX}exec: "{command}": executable file not found in $PATH: unknown', 127


def _mode(root_fd: int, path: str) -> int:
    fd = open_beneath(root_fd, path, os.O_PATH)
    try:
        return os.fstat(fd).st_mode
    finally:
        os.close(fd)
