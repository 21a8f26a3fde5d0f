"""Three-way patches: what the author changed, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.apply_patch import LAST_APPLIED, compute_apply_patch, last_applied_of, with_last_applied


@pytest.mark.parametrize(
    ("original", "modified", "current", "patch"),
    [
        ({"a": 1}, {"a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1}, {"a": 3}, {"a": 1}),
        ({"a": 1, "b": 1}, {"a": 1}, {"a": 1, "b": 1}, {"b": None}),
        ({"a": 1, "b": 1}, {"a": 1}, {"a": 1}, {}),
        ({}, {"m": {"x": 1}}, {"m": {"y": 2}}, {"m": {"x": 1}}),
        ({"m": {"x": 1}}, {"m": {}}, {"m": {"x": 1, "y": 2}}, {"m": {"x": None}}),
        ({}, {"a": None}, {"b": 1}, {}),
        ({}, {"args": ["a", "b"]}, {"args": ["a"]}, {"args": ["a", "b"]}),
    ],
)
def test_maps_are_patched_key_by_key(
    original: dict[str, Any], modified: dict[str, Any], current: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert compute_apply_patch(original, modified, current) == patch


def test_containers_are_merged_by_name_and_defaults_stay() -> None:
    before = {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}
    live = {
        "containers": [
            {"name": "a", "image": "x:1", "imagePullPolicy": "Always"},
            {"name": "b", "image": "y", "imagePullPolicy": "Always"},
        ]
    }
    wanted = {"containers": [{"name": "a", "image": "x:2"}, {"name": "c", "image": "z"}]}
    assert compute_apply_patch(before, wanted, live) == {
        "containers": [
            {"name": "a", "image": "x:2"},
            {"name": "c", "image": "z"},
            {"$patch": "delete", "name": "b"},
        ]
    }


def test_containers_that_others_added_are_left_alone() -> None:
    live = {"containers": [{"name": "a"}, {"name": "injected"}]}
    assert compute_apply_patch({"containers": [{"name": "a"}]}, {"containers": [{"name": "a"}]}, live) == {}


def test_ports_of_services_are_merged_by_port() -> None:
    live = {"ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}]}
    wanted = {"ports": [{"port": 80, "targetPort": 8080}]}
    assert compute_apply_patch({}, wanted, live) == {"ports": [{"port": 80, "targetPort": 8080}]}


def test_merge_patch_replaces_lists_whole() -> None:
    live = {"containers": [{"name": "a", "x": 1}]}
    wanted = {"containers": [{"name": "a", "x": 2}]}
    assert compute_apply_patch({}, wanted, live, strategic=False) == wanted


def test_annotation_holds_what_was_applied_without_itself() -> None:
    document = {"kind": "Pod", "metadata": {"name": "a", "annotations": {"k": "v", LAST_APPLIED: "old"}}, "status": {}}
    carried = with_last_applied(document)
    assert last_applied_of(carried) == {"kind": "Pod", "metadata": {"name": "a", "annotations": {"k": "v"}}}
    assert carried["metadata"]["annotations"]["k"] == "v"
    assert document["metadata"]["annotations"][LAST_APPLIED] == "old"  # type: ignore[index]


def test_applying_the_same_again_is_empty() -> None:
    carried = with_last_applied({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"x": [1]}})
    assert compute_apply_patch(last_applied_of(carried), carried, carried) == {}


def test_broken_annotation_counts_as_none() -> None:
    assert last_applied_of({"metadata": {"annotations": {LAST_APPLIED: "{"}}}) == {}
