"""Texts in the way Go prints them, because event and status messages are compared word for word."""

from __future__ import annotations

import re

_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def format_duration(seconds: float) -> str:
    """``time.Duration.String()``: ``10s``, ``1m20s``, ``5m0s``, ``1.5s``, ``250ms``."""
    if seconds < 1:
        return _format_fraction(seconds)
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def parse_duration(text: str) -> float:
    """Seconds of ``1h30m``, ``0.5s`` or ``0``.  Raises ValueError."""
    if text == "0":
        return 0.0
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|h|m|s))+", text, re.ASCII):
        raise ValueError(f"{text!r} is not a duration such as 5m or 1m30s")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text, re.ASCII)
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _format_fraction(seconds: float) -> str:
    ns = round(seconds * 1_000_000_000)
    for unit, size in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
        if ns >= size:
            return f"{ns / size:.6f}".rstrip("0").rstrip(".") + unit
    return "0s"


def format_names(names: list[str]) -> str:
    """``[]string`` under ``%s``: ``[a b]``."""
    return f"[{' '.join(names)}]"


def quote(text: str) -> str:
    """``%q``, as far as names and images need it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
