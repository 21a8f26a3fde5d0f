"""One thing wrong at one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]

_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Lines and columns count from 1, as editors do; ``end_column`` is the first column behind the marked text."""

    line: int
    column: int
    end_column: int = 0
    end_line: int = 0
    """Last line of what is marked, when it is more than one."""
    severity: Severity = "error"
    code: str
    """``layout``, ``tab``, ``syntax``, ``duplicate-key``, ``unknown-field``, ``type``, ``invalid``, ``yaml-1.1`` …"""
    message: str
    """What is wrong."""
    meant: str = ""
    """What was probably meant, and what to do."""
    field: str = ""
    """Path as the API writes it: ``spec.containers[0].image``."""
    mendable: bool = False
    """``podhost fix`` mends it: there is one reading only."""
    shown: tuple[int, ...] = ()
    """Other lines that a reader needs to see."""


def quantify(count: int, noun: str) -> str:
    """``two more spaces`` without the *more*: ``two spaces``, ``one space``, ``12 spaces``."""
    number = _COUNTS[count] if 0 <= count < len(_COUNTS) else str(count)
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def describe_shift(by: int, what: str = "it") -> str:
    """``indent it by two more spaces``."""
    if by == 0:
        return f"leave {what} at its column"
    noun = "more space" if by > 0 else "fewer space"
    return f"indent {what} by {quantify(abs(by), noun)}"
