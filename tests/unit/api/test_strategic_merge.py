"""Strategic merge patches, as kubectl apply and kubectl patch send them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podhost.api.patches import PatchError, apply_merge_patch, apply_strategic_merge_patch

Document = dict[str, Any]
POD = "io.k8s.api.core.v1.Pod"


def _apply(old: Document, patch: Document) -> Document:
    before = copy.deepcopy(old)
    result = apply_strategic_merge_patch({"spec": old}, {"spec": patch}, POD)
    assert old == before
    spec: Document = result["spec"]
    return spec


def test_lists_are_merged_by_their_key() -> None:
    old = {"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "2"}]}
    patch = {"containers": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]}
    assert _apply(old, patch) == {
        "containers": [
            {"name": "a", "image": "1", "args": ["x"]},
            {"name": "b", "image": "3"},
            {"name": "c", "image": "4"},
        ]
    }


def test_lists_without_strategy_are_replaced() -> None:
    old = {"containers": [{"name": "a", "args": ["x", "y"]}]}
    patch = {"containers": [{"name": "a", "args": ["z"]}]}
    assert _apply(old, patch) == {"containers": [{"name": "a", "args": ["z"]}]}


def test_nested_lists_use_their_own_key() -> None:
    old = {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x"}, {"containerPort": 81}]}]}
    patch = {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "y"}]}]}
    ports = _apply(old, patch)["containers"][0]["ports"]
    assert ports == [{"containerPort": 80, "name": "y"}, {"containerPort": 81}]


def test_null_deletes_a_field() -> None:
    assert _apply({"hostname": "x", "subdomain": "y"}, {"hostname": None}) == {"subdomain": "y"}


def test_an_item_is_deleted_by_directive() -> None:
    old = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert _apply(old, {"containers": [{"$patch": "delete", "name": "a"}]}) == {"containers": [{"name": "b"}]}


def test_a_list_is_replaced_by_directive() -> None:
    old = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert _apply(old, {"containers": [{"$patch": "replace"}, {"name": "c"}]}) == {"containers": [{"name": "c"}]}


def test_an_object_is_replaced_or_deleted_by_directive() -> None:
    old = {"securityContext": {"runAsUser": 1, "fsGroup": 2}}
    assert _apply(old, {"securityContext": {"$patch": "replace", "runAsUser": 3}}) == {
        "securityContext": {"runAsUser": 3}
    }
    assert _apply(old, {"securityContext": {"$patch": "delete"}}) == {"securityContext": {}}


def test_retain_keys_changes_the_source_of_a_volume() -> None:
    old = {"volumes": [{"name": "v", "emptyDir": {}}]}
    patch = {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}
    assert _apply(old, patch) == {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}


def test_order_is_set_and_server_side_items_stay_near_their_neighbours() -> None:
    old = {"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
        "containers": [{"name": "n"}],
    }
    names = [container["name"] for container in _apply(old, patch)["containers"]]
    assert [name for name in names if name != "s"] == ["b", "n", "a"]
    assert "s" in names


def test_scalars_are_merged_ordered_and_deleted() -> None:
    meta: Document = {"metadata": {"finalizers": ["a/1", "b/2"]}}
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a/1"],
            "$setElementOrder/finalizers": ["c/3", "b/2"],
            "finalizers": ["c/3"],
        }
    }
    assert apply_strategic_merge_patch(meta, patch, POD) == {"metadata": {"finalizers": ["c/3", "b/2"]}}


def test_maps_are_merged() -> None:
    old: Document = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    patch = {"metadata": {"labels": {"a": None, "c": "3"}}}
    assert apply_strategic_merge_patch(old, patch, POD) == {"metadata": {"labels": {"b": "2", "c": "3"}}}


def test_ports_of_a_service_are_merged_by_port() -> None:
    old: Document = {"spec": {"ports": [{"port": 80, "nodePort": 30080}]}}
    patch = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    result = apply_strategic_merge_patch(old, patch, "io.k8s.api.core.v1.Service")
    assert result == {"spec": {"ports": [{"port": 80, "nodePort": 30080, "targetPort": 8080}]}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"containers": [{"image": "x"}]}, r"map: map\[image:x\] does not contain declared merge key: name"),
        ({"securityContext": {"$patch": "mix"}}, r"unknown patch type: mix in map: map\[\$patch:mix\]"),
        ({"containers": ["x"]}, "list element types are not identical"),
        ({"$setElementOrder/containers": 1, "containers": []}, "invalid patch format of setElementOrder list"),
        ({"$setElementOrder/volumes": [{"name": "v"}], "volumes": []}, "no elements in any of the given slices"),
        ({"$retainKeys": ["hostname"], "subdomain": "x"}, "invalid patch format of retainKeys"),
        (
            {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]},
            r"The order in patch list:\n\[map\[name:b\]\]\n doesn't match \$setElementOrder list:\n\[map\[name:a\]\]",
        ),
    ],
)
def test_malformed_patches_are_refused(patch: Document, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        _apply({"containers": [{"name": "a"}], "securityContext": {}, "volumes": []}, patch)


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_any_patch_applies_or_is_refused(
    documents_of: Callable[[str], st.SearchStrategy[Document]], data: st.DataObject
) -> None:
    old, patch = data.draw(documents_of(POD)), data.draw(documents_of(POD))
    before = copy.deepcopy(old)
    try:
        once = apply_strategic_merge_patch(old, patch, POD)
    except PatchError:
        return
    assert old == before
    assert once.keys() == apply_merge_patch(old, patch).keys()
