"""JSON patch and merge patch: the examples of their RFCs, and properties."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.patches import PatchError, apply_json_patch, apply_merge_patch, compute_merge_patch

json_scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/~", max_size=3)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)
documents_without_null = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text("ab", max_size=2), documents_without_null, max_size=4)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_does_the_examples_of_rfc_7386(document: Any, patch: Any, result: Any) -> None:
    assert apply_merge_patch(document, patch) == result


@given(objects, objects)
def test_a_computed_merge_patch_leads_to_the_target(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy(old)
    assert apply_merge_patch(old, compute_merge_patch(old, new)) == new
    assert old == before


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/0", "value": "b"}], {"foo": ["b", "a"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": "b"}], {"foo": ["a", "b"]}),
        ({"foo": ["a", "b"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a"]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}], {"a": {}, "b": {"y": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch_does_the_examples_of_rfc_6902(document: Any, operations: Any, result: Any) -> None:
    assert apply_json_patch(document, operations) == result


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "remove", "path": "/x"}, "unable to remove nonexistent key: x: missing value"),
        ({"op": "replace", "path": "/x", "value": 1}, "replace operation does not apply: doc is missing key: /x"),
        ({"op": "add", "path": "/x/y", "value": 1}, "doc is missing path: /x/y"),
        ({"op": "add", "path": "/l/3", "value": 1}, "invalid index referenced: /l/3"),
        ({"op": "add", "path": "/l/01", "value": 1}, 'invalid array index "01"'),
        ({"op": "test", "path": "/a", "value": True}, "testing value /a failed"),
        ({"op": "move", "from": "/o", "path": "/o/x"}, 'cannot move "/o" into itself'),
        ({"op": "add", "path": "/x"}, "missing value in JSON patch operation"),
        ({"op": "mix", "path": "/x"}, "Unexpected kind: mix"),
        ({"op": "add", "path": "x", "value": 1}, "invalid JSON pointer"),
    ],
)
def test_a_json_patch_that_does_not_apply_says_why(operation: Any, message: str) -> None:
    document = {"a": 1, "l": [1], "o": {}}
    with pytest.raises(PatchError, match=message.replace("(", r"\(")) as raised:
        apply_json_patch(document, [operation])
    assert raised.value.unprocessable
    assert document == {"a": 1, "l": [1], "o": {}}


pointers = st.text("/ab01-~", max_size=5)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": pointers},
    optional={"value": json_values, "from": pointers},
)


@given(json_values, st.lists(operations, max_size=4))
def test_any_json_patch_applies_or_is_refused_and_leaves_the_document(document: Any, patch: list[Any]) -> None:
    before = copy.deepcopy(document)
    try:
        apply_json_patch(document, patch)
    except PatchError:
        pass
    assert document == before
