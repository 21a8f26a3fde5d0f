"""The last lines of a container's log, where programs say why they could not listen or write.  Blocking."""

from __future__ import annotations

from pathlib import Path

_TAIL_BYTES = 4096
_MAX_LINES = 20


def read_log_tail(path: Path) -> tuple[str, ...]:
    """Text of the last lines of a CRI log file, without their stamps; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read(_TAIL_BYTES)
    except OSError:
        return ()
    lines = data.decode(errors="replace").splitlines()
    if size > _TAIL_BYTES:
        lines = lines[1:]  # its beginning is cut off
    return tuple(parse_log_line(line) for line in lines[-_MAX_LINES:])


def parse_log_line(line: str) -> str:
    """``TIME stdout F text`` → ``text``."""
    parts = line.split(" ", 3)
    return parts[3] if len(parts) == 4 and parts[1] in ("stdout", "stderr") else line
