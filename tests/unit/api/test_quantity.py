"""Quantities: canonical spelling, rounding, round trips."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1e3", "1e3"),
        ("1000", "1k"),
        ("0", "0"),
        ("0.1Ki", "102400m"),
        ("1Ei", "1Ei"),
        ("-5Mi", "-5Mi"),
        (".5", "500m"),
        ("5.", "5"),
        ("0.0000000001", "1n"),
        (0.25, "250m"),
        (3, "3"),
    ],
)
def test_canonical_spelling(text: str | float, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1 Gi", "1gi", "--1", "1mi", "e3", "1e", "١"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("100u", "1m"),
        ("0.0001", "1m"),
        ("1.0001", "1001m"),
        ("250m", "250m"),
        ("1Gi", "1Gi"),
        ("-100u", "-1m"),
        ("0", "0"),
    ],
)
def test_thousandths_are_the_finest_and_rounded_up(text: str, rounded: str) -> None:
    assert quantity.round_to_milli(text) == rounded


def test_rounding_is_upwards() -> None:
    assert quantity.quantity_to_int("1500m") == 2
    assert quantity.quantity_to_int("64Mi") == 64 << 20


def test_huge_quantities_are_capped_and_cost_nothing() -> None:
    assert quantity.parse_quantity("1e999999999") == 2**63 - 1
    assert quantity.parse_quantity("1e-999999999") == Fraction(1, 10**9)


@given(
    st.integers(-(10**15), 10**15),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "E2", "e-2"]),
)
def test_the_canonical_spelling_means_the_same_and_stays(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    canonical = quantity.canonical(text)
    assert quantity.parse_quantity(canonical) == quantity.parse_quantity(text)
    assert quantity.canonical(canonical) == canonical


@given(st.text(max_size=12))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        quantity.canonical(text)
    except ValueError:
        pass
