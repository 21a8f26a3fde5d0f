"""Bodies as values."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.errors import ApiError
from podhost.apiserver.bodies import find_yaml_duplicates, parse_yaml

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=10,
)


@given(document=st.dictionaries(TEXT, VALUES, max_size=4), indent=st.sampled_from([None, 2]))
async def test_json_is_read_as_the_yaml_that_it_is(document: dict[str, Any], indent: int | None) -> None:
    body = json.dumps(document, indent=indent).encode()
    assert await parse_yaml(body) == await parse_yaml(yaml.safe_dump(document).encode()) == document
    assert find_yaml_duplicates(body) == []


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a": 1e-7}', {"a": 1e-7}),
        (b"{a: b, c: [d]}", {"a": "b", "c": ["d"]}),
        (b'\n {"a": "2026-01-01T00:00:00Z"}', {"a": "2026-01-01T00:00:00Z"}),
        (b"a: 2026-01-01T00:00:00Z", {"a": "2026-01-01T00:00:00Z"}),
        (b"- a", ["a"]),
        (b"", None),
    ],
)
async def test_yaml_is_read_as_json(body: bytes, document: Any) -> None:
    assert await parse_yaml(body) == document


@pytest.mark.parametrize("body", [b'{"a": 1, "b": {"c": 1, "c": 2}}', b"a: 1\nb: {c: 1, c: 2}"])
def test_keys_that_are_there_twice_are_found_in_both(body: bytes) -> None:
    assert [text.partition(": ")[2] for text in find_yaml_duplicates(body)] == ['key "c" already set in map']


@pytest.mark.parametrize("body", [b'{"a": ', b"{" * 10_000, b'{"a":' * 100_000, b"a: [", b"\xff"])
async def test_what_is_neither_is_the_clients_mistake(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        await parse_yaml(body)
    assert caught.value.code == 400
