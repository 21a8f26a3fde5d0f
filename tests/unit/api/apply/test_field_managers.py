"""Apply and the managers of fields."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podhost.api.apply import ApplyConflict, Writer, apply_config, field_sets, keep_times, record_update, record_write
from podhost.api.apply.field_managers import LAST_APPLIED

Obj = dict[str, Any]
POD, CONFIG_MAP, NODE = (f"io.k8s.api.core.v1.{kind}" for kind in ("Pod", "ConfigMap", "Node"))
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"


def config(data: Obj, **metadata: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **metadata}, "data": data}


def apply(live: Obj | None, body: Obj, manager: str = "one", *, force: bool = False, now: str = NOW) -> Obj:
    before = copy.deepcopy((live, body))
    result = apply_config(live, body, Writer(manager), CONFIG_MAP, now, force=force)
    assert (live, body) == before
    decoded = {key: value for key, value in result.items() if value}  # as the API server decodes it
    if live is not None:
        keep_times(live, decoded)
    return decoded


def update(live: Obj | None, new: Obj, manager: str = "edit", subresource: str = "", kind: str = CONFIG_MAP) -> Obj:
    new = copy.deepcopy(new)
    record_update(live, new, Writer(manager, subresource), kind, NOW)
    return new


def managed(obj: Obj) -> dict[str, list[str]]:
    return {
        f"{entry['manager']} {entry['operation']} {entry.get('subresource', '')}".rstrip(): [
            field_sets.format_path(path) for path in field_sets.paths(entry["fieldsV1"])
        ]
        for entry in obj["metadata"].get("managedFields", ())
    }


def test_apply_creates_with_one_entry() -> None:
    made = apply(None, config({"a": "1"}, labels={"x": "y"}))
    assert made["data"] == {"a": "1"}
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}},
        }
    ]


def test_a_key_left_out_of_the_next_apply_goes() -> None:
    first = apply(None, config({"a": "1", "b": "2"}))
    assert apply(first, config({"a": "1"}))["data"] == {"a": "1"}


def test_a_key_that_another_manager_has_too_stays() -> None:
    both = apply(apply(None, config({"a": "1", "b": "2"})), config({"b": "2"}), "two")
    left = apply(both, config({"a": "1"}))
    assert left["data"] == {"a": "1", "b": "2"}
    assert managed(left) == {"one Apply": [".data.a"], "two Apply": [".data.b"]}
    assert apply(left, config({}), "two")["data"] == {"a": "1"}


def test_fields_of_updaters_are_not_removed_by_apply() -> None:
    first = apply(None, config({"a": "1"}))
    edited = update(first, {**first, "data": {"a": "1", "z": "9"}})
    assert managed(edited) == {"one Apply": [".data.a"], "edit Update": [".data.z"]}
    assert apply(edited, config({}))["data"] == {"z": "9"}


def test_another_value_of_a_managed_field_is_a_conflict() -> None:
    live = update(None, config({"a": "1", "b": "2"}))
    with pytest.raises(ApplyConflict) as caught:
        apply(live, config({"a": "9"}))
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "edit" using v1: .data.a'
    with pytest.raises(ApplyConflict) as caught:
        apply(live, config({"a": "9", "b": "9"}))
    assert str(caught.value) == ('Apply failed with 2 conflicts: conflicts with "edit" using v1:\n- .data.a\n- .data.b')
    forced = apply(live, config({"a": "9"}), force=True)
    assert forced["data"] == {"a": "9", "b": "2"}
    assert managed(forced) == {"one Apply": [".data.a"], "edit Update": [".data", ".data.b"]}


def test_the_same_value_is_shared_without_a_conflict() -> None:
    live = update(None, config({"a": "1"}))
    shared = apply(live, config({"a": "1"}))
    assert managed(shared) == {"one Apply": [".data.a"], "edit Update": [".data", ".data.a"]}


def test_an_update_takes_fields_from_appliers() -> None:
    first = apply(None, config({"a": "1", "b": "2"}))
    edited = update(first, {**first, "data": {"a": "5"}})
    assert managed(edited) == {"edit Update": [".data.a"]}


def test_an_update_that_changes_nothing_keeps_the_entries() -> None:
    live = update(None, config({"a": "1"}))
    again = copy.deepcopy(live)
    record_update(live, again, Writer("edit"), CONFIG_MAP, LATER)
    assert again == live


def test_applying_the_same_again_changes_nothing() -> None:
    live = apply(None, config({"a": "1"}))
    assert apply(live, config({"a": "1"}), now=LATER) == live


def test_clients_without_managed_fields_do_not_lose_them_and_may_reset_them() -> None:
    live = apply(None, config({"a": "1"}))
    assert managed(update(live, config({"a": "1"}))) == {"one Apply": [".data.a"]}
    reset = config({"a": "1"}, managedFields=[{}])
    assert managed(update(live, reset)) == {}


def test_an_object_from_before_belongs_to_before_first_apply() -> None:
    old = config({"a": "1"})
    assert managed(update(old, config({"a": "2"}))) == {}
    with pytest.raises(ApplyConflict, match="before-first-apply"):
        apply(old, config({"a": "2"}))
    assert managed(apply(old, config({"b": "2"}))) == {
        "one Apply": [".data.b"],
        "before-first-apply Update": [".data", ".data.a"],
    }


def test_kubectl_takes_over_from_its_client_side_apply() -> None:
    annotation = json.dumps(config({"a": "1", "b": "2"}))
    live = update(
        None, config({"a": "1", "b": "2"}, annotations={LAST_APPLIED: annotation}), "kubectl-client-side-apply"
    )
    with pytest.raises(ApplyConflict):
        apply(live, config({"a": "9"}), "other")
    taken = apply(live, config({"a": "9"}), "kubectl")
    assert taken["data"] == {"a": "9", "b": "2"}
    assert json.loads(taken["metadata"]["annotations"][LAST_APPLIED])["data"] == {"a": "9"}
    edited = update(live, {**live, "data": {"a": "7", "b": "2"}}, "someone")
    with pytest.raises(ApplyConflict, match="someone"):
        apply(edited, config({"a": "9"}), "kubectl")


def test_the_status_belongs_to_its_subresource() -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}]},
        "status": {},
    }
    live = update(None, body, "create", kind=POD)
    assert live["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}}
    }
    new = {**live, "spec": {"hostname": "ignored"}, "status": {"phase": "Running"}}
    entry = update(live, new, "kubelet", "status", POD)["metadata"]["managedFields"][-1]
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})


def test_a_component_that_writes_object_and_status_at_once_has_two_entries() -> None:
    node: Obj = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {}}
    made = {**node, "metadata": dict(node["metadata"]), "status": {"capacity": {"cpu": "1"}}}
    record_write(None, made, "kubelet", NODE, NOW)
    assert managed(made) == {
        "kubelet Update": [".metadata.labels", ".metadata.labels.a"],
        "kubelet Update status": [".status.capacity", ".status.capacity.cpu"],
    }
    changed = copy.deepcopy(made) | {"spec": {"unschedulable": True}, "status": {"capacity": {"cpu": "2"}}}
    record_write(made, changed, "other", NODE, LATER)
    assert managed(changed) == {
        "kubelet Update": [".metadata.labels", ".metadata.labels.a"],
        "kubelet Update status": [".status.capacity"],
        "other Update": [".spec.unschedulable"],
        "other Update status": [".status.capacity.cpu"],
    }
    same = copy.deepcopy(changed)
    record_write(changed, same, "third", NODE, LATER)
    assert same == changed


def test_ten_updaters_are_kept_and_older_ones_become_ancient() -> None:
    live = update(None, config({}))
    for number in range(14):
        new = copy.deepcopy(live)
        new.setdefault("data", {})[f"k{number:02}"] = "x"
        record_update(live, new, Writer(f"m{number:02}"), CONFIG_MAP, f"2026-01-01T00:00:{number:02}Z")
        live = new
    found = managed(live)
    assert len(found) == 10
    assert found["ancient-changes Update"] == [".data", *(f".data.k{number:02}" for number in range(5))]


keys = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
some_keys = keys.filter(bool)


@given(keys, keys)
@settings(max_examples=200)
def test_apply_is_idempotent_and_the_last_configuration_holds(first: Obj, second: Obj) -> None:
    live = apply(apply(None, config(first)), config(second))
    assert (live.get("data") or {}) == second
    assert apply(live, config(second), now=LATER) == live


@given(some_keys, some_keys)
@settings(max_examples=200)
def test_managers_of_different_keys_may_come_in_any_order(one: Obj, other: Obj) -> None:
    other = {"x" + key: value for key, value in other.items()}
    ways = [
        apply(apply(None, config(one), "one"), config(other), "two"),
        apply(apply(None, config(other), "two"), config(one), "one"),
    ]
    assert ways[0].get("data", {}) == ways[1].get("data", {}) == {**one, **other}
    assert managed(ways[0]) == managed(ways[1])
