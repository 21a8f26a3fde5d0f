"""Sets of fields in the form of ``fieldsV1``."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podhost.api.apply import field_sets
from podhost.api.apply.field_sets import Fields, from_paths

steps = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', "v:1"])
paths = st.lists(steps, min_size=1, max_size=3).map(tuple)
path_sets = st.sets(paths, max_size=6)


def as_set(fields: Fields) -> set[tuple[str, ...]]:
    found = list(field_sets.paths(fields))
    assert len(found) == len(set(found))
    return set(found)


@given(path_sets, path_sets)
def test_the_operations_are_those_of_sets(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> None:
    left, right = from_paths(*one), from_paths(*other)
    assert as_set(field_sets.union(left, right)) == one | other
    assert as_set(field_sets.difference(left, right)) == one - other
    assert as_set(field_sets.intersection(left, right)) == one & other
    below = {path for path in one if any(path[: len(top)] == top for top in other)}
    assert as_set(field_sets.without_subtrees(left, right)) == one - below
    assert (as_set(left), as_set(right)) == (one, other)


@given(path_sets)
def test_a_set_survives_its_document(one: set[tuple[str, ...]]) -> None:
    fields = from_paths(*one)
    assert field_sets.check_fields(field_sets.sort_fields(fields)) == fields


@pytest.mark.parametrize(
    "document", [1, [], {"x": {}}, {"f:a": 1}, {"k:{": {}}, {"k:1": {}}, {'i:"x"': {}}, {"f:a": {"z:1": {}}}]
)
def test_what_is_no_set_is_refused(document: Any) -> None:
    assert field_sets.check_fields(document) is None


def test_paths_are_shown_as_kubernetes_shows_them() -> None:
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
    assert field_sets.format_path(path) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert field_sets.format_path(("f:finalizers", 'v:"a/b"', "i:3")) == '.finalizers[="a/b"][3]'


def test_steps_are_sorted_by_kind_and_name() -> None:
    fields = from_paths(("v:1",), ('k:{"name":"x"}',), ("f:b",), ("f:a",))
    assert list(field_sets.sort_fields(fields)) == ["f:a", "f:b", 'k:{"name":"x"}', "v:1"]
