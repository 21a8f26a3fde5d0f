"""Fields of protobuf messages, against the numbers of its own documentation."""

from __future__ import annotations

import pytest

from podhost.wire.protobuf import encode_field


@pytest.mark.parametrize(
    ("number", "value", "wanted"),
    [
        (1, b"", b"\x0a\x00"),
        (2, b"testing", b"\x12\x07testing"),
        (15, b"x", b"\x7a\x01x"),
        (16, b"x", b"\x82\x01\x01x"),
        (1, b"x" * 150, b"\x0a\x96\x01" + b"x" * 150),
    ],
)
def test_a_field_says_its_number_and_length_in_sevens_of_bits(number: int, value: bytes, wanted: bytes) -> None:
    assert encode_field(number, value) == wanted
