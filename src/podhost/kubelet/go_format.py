"""Texts in the way Go prints them, because event and status messages are compared word for word."""

from __future__ import annotations


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
