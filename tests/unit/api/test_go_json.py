"""Go's words for texts that are no JSON objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.validation.go_json import find_object_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{}", ""),
        (' {"a": [1, "]}"]} ', ""),
        ("null", ""),
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ('{"a": "b', "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{a}", "invalid character 'a' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a": 1 2}', "invalid character '2' after object key:value pair"),
        ('{"a": ["{", 1 2]}', "invalid character '2' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("[1]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("1.5", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
        ("true", "json: cannot unmarshal bool into Go value of type map[string]interface {}"),
        ('"a"', "json: cannot unmarshal string into Go value of type map[string]interface {}"),
    ],
)
def test_faults(text: str, fault: str) -> None:
    assert find_object_fault(text.encode()) == fault


@given(st.binary())
def test_any_bytes_are_judged(data: bytes) -> None:
    assert isinstance(find_object_fault(data), str)


def test_depth_is_a_fault() -> None:
    assert find_object_fault(b"[" * 100_000) == "exceeded max depth"
