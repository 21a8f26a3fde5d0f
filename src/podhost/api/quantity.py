"""Quantities: ``100m``, ``1.5Gi``, ``1e3`` (``k8s.io/apimachinery/pkg/api/resource``)."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_NANO = Fraction(1, 10**9)
_LIMIT = 2**63 - 1

FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Fraction, str]:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(FORMAT_ERROR)
    sign, digits, suffix = match[1], match[2], match[3] or ""
    value = Fraction(digits.rstrip(".") if digits.endswith(".") else digits)
    if suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
        family = "binary"
    elif suffix in _DECIMAL:
        value *= Fraction(10) ** _DECIMAL[suffix]
        family = "decimal"
    else:
        exponent = int(suffix[1:])
        if abs(exponent) > 2**31 - 1:
            raise ValueError("unable to parse quantity's suffix")
        # Anything outside this range is the largest or smallest value anyhow; the bound keeps the number small.
        value *= Fraction(10) ** max(-400, min(400, exponent))
        family = "exponent"
    value = _clamp(value)
    return (-value if sign == "-" else value), family


def _clamp(value: Fraction) -> Fraction:
    """Cap at 2^63-1 and round up to nano units, as Kubernetes does at parsing."""
    if value > _LIMIT:
        return Fraction(_LIMIT)
    if value.denominator == 1:
        return value
    return -(-value // _NANO) * _NANO


def parse_quantity(value: str | int | float) -> Fraction:
    """The exact value.  Raises ValueError with Kubernetes' text."""
    return _parse(str(value))[0]


def quantity_to_int(value: str | int | float) -> int:
    """Whole units, rounded up (``Quantity.Value``).  Raises ValueError."""
    return _round_up(parse_quantity(value))


def round_to_milli(value: str | int | float) -> str:
    """Canonical spelling of the amount in whole thousandths, rounded up.  Raises ValueError."""
    amount, family = _parse(str(value))
    return format_quantity(Fraction(_round_up(amount * 1000), 1000), family)


def get_family(value: str | int | float) -> str:
    """``binary``, ``decimal`` or ``exponent``: the suffixes that it is spelled with.  Raises ValueError."""
    return _parse(str(value))[1]


def _round_up(value: Fraction) -> int:
    """Away from zero, as Kubernetes rounds."""
    return -(-value.numerator // value.denominator) if value >= 0 else value.numerator // value.denominator


def canonical(value: str | int | float) -> str:
    """The canonical spelling, which the API server stores: ``1024Mi`` -> ``1Gi``, ``0.5`` -> ``500m``.

    Raises:
        ValueError: It is not a quantity.
    """
    return _canonical(str(value))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    amount, family = _parse(text)
    return format_quantity(amount, family)


def format_quantity(amount: Fraction | int, family: str = "decimal") -> str:
    """Canonical spelling of an amount in a family of suffixes: ``binary``, ``decimal`` or ``exponent``."""
    amount = Fraction(amount)
    if amount == 0:
        return "0"
    if family == "binary":
        # Below 1024, and with a fraction, the binary family cannot spell the number.
        if abs(amount) < 1024 or amount.denominator != 1:
            family = "decimal"
        else:
            return _format_binary(amount.numerator)
    return _format_decimal(amount, family)


def _format_binary(amount: int) -> str:
    suffix = ""
    for name in _BINARY:
        if amount % 1024:
            break
        amount //= 1024
        suffix = name
    return f"{amount}{suffix}"


def _format_decimal(amount: Fraction, family: str) -> str:
    """The largest exponent (a multiple of three) that leaves a whole number."""
    exponent = -9
    mantissa = amount * 10**9
    number = mantissa.numerator // mantissa.denominator
    while exponent < 18 and number % 1000 == 0:
        number //= 1000
        exponent += 3
    if family == "exponent":
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_BY_EXPONENT[exponent]}"
