"""API times: RFC 3339 in UTC, seconds (``Time``) or microseconds (``MicroTime``); ages as kubectl prints them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def from_ns(epoch_ns: int) -> datetime:
    """UTC time of nanoseconds since the epoch, to the microsecond."""
    seconds, rest = divmod(epoch_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _as_datetime(moment: datetime | int) -> datetime:
    return from_ns(moment) if isinstance(moment, int) else moment.astimezone(UTC)


def format_time(moment: datetime | int) -> str:
    """``2026-11-23T16:00:00Z``.  Integers are nanoseconds since the epoch; fractions are cut off."""
    return _format(moment, "seconds")


def format_micro_time(moment: datetime | int) -> str:
    """``2026-11-23T16:00:00.000000Z``."""
    return _format(moment, "microseconds")


def _format(moment: datetime | int, unit: str) -> str:
    """Not by strftime, whose years before 1000 have fewer digits."""
    return _as_datetime(moment).replace(tzinfo=None).isoformat(timespec=unit) + "Z"


def parse_time(text: str) -> datetime:
    """Parse RFC 3339.  Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    day, clock, fraction, zone = match.groups()
    micros = (fraction or "")[:6].ljust(6, "0")
    zone = "+00:00" if zone in "Zz" else zone
    return datetime.fromisoformat(f"{day}T{clock}.{micros}{zone}").astimezone(UTC)


def format_age(start: str | None, now: datetime) -> str:
    """Age of a timestamp in a table: ``<unknown>`` without one."""
    if not start:
        return "<unknown>"
    try:
        return human_duration(now - parse_time(start))
    except ValueError:
        return "<unknown>"


def human_duration(span: timedelta) -> str:
    """``45s``, ``5m30s``, ``3h12m``, ``2d4h``, ``18d``, ``2y100d``: ``HumanDuration`` of apimachinery."""
    seconds = int(span.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return _two_units(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two_units(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _two_units(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _two_units(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def _two_units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
