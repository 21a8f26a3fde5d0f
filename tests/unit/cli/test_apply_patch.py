"""Three-way patches: what the author changed, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from podhost.cli.apply_patch import (
    LAST_APPLIED,
    compute_apply_patch,
    compute_handover,
    last_applied_of,
    must_apply_on_server,
    with_last_applied,
)


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


def config(size: int, *, noted: bool = False, applied_by: str = "") -> dict[str, Any]:
    document: dict[str, Any] = {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "x" * size}}
    if applied_by:
        document["metadata"]["managedFields"] = [{"manager": applied_by, "operation": "Apply"}]
    return with_last_applied(document) if noted else document


SMALL, LARGE = 100, 300_000


@pytest.mark.parametrize(
    ("document", "live", "on_server"),
    [
        (config(SMALL), None, False),
        (config(LARGE), None, True),
        (config(262_144 - 120), None, True),
        (config(LARGE), config(SMALL, noted=True), True),
        (config(SMALL), config(LARGE, applied_by="kubectl"), True),
        (config(SMALL), config(LARGE, applied_by="somebody"), False),
        (config(SMALL), config(SMALL, noted=True, applied_by="kubectl"), False),
        (config(SMALL), config(SMALL), False),
    ],
)
def test_what_no_annotation_can_hold_is_applied_by_the_server_and_stays_so(
    document: dict[str, Any], live: dict[str, Any] | None, on_server: bool
) -> None:
    assert must_apply_on_server(document, live) is on_server


def entry(manager: str, operation: str, *paths: str, subresource: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path in paths:
        at = fields
        for part in path.split():
            at = at.setdefault(f"f:{part}", {})
    made = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields}
    return made | ({"subresource": subresource} if subresource else {})


def test_fields_of_client_side_applies_are_handed_over_to_the_servers() -> None:
    others = [entry("edit", "Update", "data b"), entry("podhost", "Update", "status", subresource="status")]
    live = config(SMALL, noted=True)
    note = f"metadata annotations {LAST_APPLIED}"
    live["metadata"]["managedFields"] = [
        entry("kubectl", "Apply", "data a"),
        entry("kubectl-client-side-apply", "Update", "data c", note),
        *others,
        entry("podhost", "Update", "data d"),
    ]
    live["metadata"]["resourceVersion"] = "7"
    managers, version, annotation = compute_handover(live)
    assert managers["value"] == [
        entry("kubectl", "Apply", "data a", "data c", "metadata annotations", "data d"),
        *others,
    ]
    assert version["value"] == "7"
    assert annotation == {
        "op": "remove",
        "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
    }


def test_nothing_is_handed_over_where_nobody_applied() -> None:
    live = config(SMALL)
    live["metadata"]["managedFields"] = [entry("edit", "Update", "data b")]
    assert compute_handover(live) == []


def test_broken_annotation_counts_as_none() -> None:
    assert last_applied_of({"metadata": {"annotations": {LAST_APPLIED: "{"}}}) == {}
